"""Numbers that options of a training may be: the mistake is named before a folder is claimed."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from click.testing import CliRunner

from ovbench.cli.train import command
from ovbench.core.errors import UserError
from ovbench.engine.ranges import RANGES, Range, check_ranges
from ovbench.methods.options import resolve_options
from ovbench.methods.registry import cards


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        ("batch", "0", "at least 1, not 0"),
        ("batch", "-4", "at least 1, not -4"),
        ("steps", "0", "at least 1, not 0"),
        ("accumulate", "0", "at least 1, not 0"),
        ("regions", "0", "at least 1, not 0"),
        ("rate", "-1", "more than 0, not -1"),
        ("rate", "nan", "more than 0, not nan"),
        ("rate", "inf", "more than 0, not inf"),
        ("head_rate", "0", "more than 0, not 0"),
        ("negatives", "-1", "at least 0, not -1"),
        ("warmup_ratio", "2", "from 0 to 1, not 2"),
        ("gradient", "-0.5", "at least 0, not -0.5"),
    ],
)
def test_a_number_out_of_range_is_refused_before_the_folder_is_claimed(
    tmp_path: Path, option: str, value: str, allowed: str
) -> None:
    pytest.importorskip("torch", reason="needs the extra 'models'")
    out = tmp_path / "run"
    words = [
        "--method",
        "ov2vss",
        "--protocol",
        "world-27-9",
        "--out",
        str(out),
        "--set",
        f"{option}={value}",
    ]
    found = CliRunner().invoke(command, words)
    assert isinstance(found.exception, UserError), found.output
    assert f"option '{option}' of ov2vss must be {allowed}" in str(found.exception)
    assert not out.exists()


@pytest.mark.parametrize("method", ["zegformer", "zsseg", "deop", "freeseg", "san", "sam-clip"])
def test_the_same_ranges_hold_for_mask_methods(method: str) -> None:
    card = cards()[method]
    with pytest.raises(UserError, match=f"option 'batch' of {method} must be at least 1, not 0"):
        check_ranges(method, {**card.options, "batch": 0})
    with pytest.raises(UserError, match="backbone_share.* must be from 0 to 1, not 1.5"):
        check_ranges(method, {**card.options, "backbone_share": 1.5})


def test_every_variant_that_is_offered_keeps_the_ranges() -> None:
    named = set()
    for card in cards().values():
        named |= set(card.options)
        for variant in card.variants.values():
            if card.trainer:
                options = resolve_options(card.id, {**card.options, **variant.options}, card.choices, {})
                check_ranges(card.id, options)
    assert set(RANGES) <= named


def test_bounds() -> None:
    assert 0.0 in Range(0, 1) and 1 in Range(0, 1) and 1.01 not in Range(0, 1)
    assert 0 not in Range(0, above=True) and math.nan not in Range(0) and math.inf not in Range(0)
