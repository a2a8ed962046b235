"""The `[ablations]` section of a card: rows become variants, mistakes are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from ovbench.cli.methods import card_text
from ovbench.core.errors import UserError
from ovbench.methods.card import read_card
from ovbench.methods.registry import card
from ovbench.methods.select import select
from ovbench.report.ablation_model import read_published

TEXT = """
id = "m"
title = "M"
kind = "video"
segmenter = "x:y"
default_variant = "small"
[options]
rate = 1.0
wide = false
[variants.small]
[variants.large]
options = { rate = 2.0 }
[ablations]
title = "Table 1"
variants = ["small", "large"]
prefix = "t1"
[ablations.rows.wide]
description = "wider"
options = { wide = true }
"""


def write(tmp_path: Path, text: str = TEXT) -> Path:
    path = tmp_path / "method.toml"
    path.write_text(text)
    return path


def test_each_row_is_a_variant_of_each_size(tmp_path: Path) -> None:
    read = read_card(write(tmp_path))
    assert list(read.variants) == ["small", "large", "small-t1-wide", "large-t1-wide"]
    made = read.variants["large-t1-wide"]
    assert made.options == {"rate": 2.0, "wide": True} and made.ablation == "wide"
    assert read.ablations is not None and read.ablations.metric == "unseen.miou"
    assert read.ablations.variant("large", "full") == "large"
    assert [read.ablations.size_of(name) for name in ("large", "large-t1-wide")] == ["large", "large"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("wide = true", "wild = true", "unknown option 'wild'"),
        ('variants = ["small", "large"]', 'variants = ["smal"]', "unknown variant 'smal'"),
        ('variants = ["small", "large"]', "", "must be a list of variants"),
        ("options = { wide = true }", "", "needs 'options'"),
        ("[ablations.rows.wide]", "[ablations.rows.full]", "is the reference"),
        ('description = "wider"', 'text = "wider"', "unknown key 'text'"),
        (
            "[variants.small]",
            "[variants.small]\n[variants.small-t1-wide]",
            "also the name of an ablation's row",
        ),
        ("[ablations.rows.wide]", '[ablations.rows."a/b"]', "cannot be used as a file name"),
    ],
)
def test_wrong_sections_are_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in TEXT
    with pytest.raises(UserError, match=message):
        read_card(write(tmp_path, TEXT.replace(old, new)))


def test_ov2vss_has_every_row_of_its_published_table() -> None:
    ours = card("ov2vss")
    assert ours.ablations is not None and ours.ablations.published is not None
    published = read_published(ours.ablations.published)
    assert {p.variant for p in published} <= {"full", *ours.ablations.rows}
    assert {*ours.ablations.rows} - {p.variant for p in published} == {"no-carry"}
    steps = [p.miou for p in published if p.group == "components"]
    assert [round(b - a, 2) for a, b in zip(steps, steps[1:], strict=False)] == [0.91, 0.43, 1.67]  # type: ignore[operator]
    assert {p.miou for p in published if p.variant == "full"} == {17.99}
    text = card_text(ours)
    assert all(f"  {name}: " in text for name in ours.ablations.rows)
    assert "world-t3-" not in text.partition("ablations")[0]


@pytest.mark.parametrize("size", ["world", "small", "sam-vit-b", "resnet101"])
def test_rows_keep_the_options_of_their_size(size: str) -> None:
    ours = card("ov2vss")
    assert ours.ablations is not None
    whole = select(f"ov2vss:{size}", untrained=True).options
    for name, row in ours.ablations.rows.items():
        changed = select(f"ov2vss:{size}-t3-{name}", untrained=True).options
        assert changed == {**whole, **row.options} != whole
