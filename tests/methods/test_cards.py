"""Method cards and the choice made from them: names, variants, options and weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ovbench.cli.methods import card_text
from ovbench.core.errors import UserError
from ovbench.methods import select as selection
from ovbench.methods.card import Card, Official, ShippedWeights, Variant, read_card
from ovbench.methods.options import resolve_options, split_settings
from ovbench.methods.registry import cards
from ovbench.methods.select import select
from ovbench.protocol.load import load_protocol

TEXT = """
id = "m"
title = "M"
kind = "video"
segmenter = "a.b:build"
default_variant = "small"
[options]
rate = 0.5
temporal = true
mode = "x"
[choices]
mode = ["x", "y"]
[variants.small]
description = "s"
[variants.large.options]
rate = 2.0
[default_variants]
world = "large"
[[weights]]
variant = "large"
protocols = ["world-27-9"]
file = "w.safetensors"
[official]
file = "m.pth"
source = "example.org/m"
"""


@pytest.fixture
def method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Card:
    """A method of its own with weights for the world."""
    path = tmp_path / "method.toml"
    path.write_text(TEXT)
    (tmp_path / "w.safetensors").write_bytes(b"weights")
    card = replace(read_card(path), needs_weights=True)
    monkeypatch.setattr(selection, "card_of", lambda name: card)
    return card


def test_all_our_cards_are_readable() -> None:
    found = cards()
    assert {"random", "constant", "majority", "oracle-grid", "predictions"} <= set(found)
    assert list(found) == sorted(found)


def test_a_card_is_typed(method: Card) -> None:
    assert method.variants["large"] == Variant("large", "", {"rate": 2.0})
    assert method.official == Official("m.pth", "example.org/m")
    assert method.weights == (ShippedWeights("large", ("world-27-9",), method.folder / "w.safetensors", "w"),)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('kind = "video"', 'kind = "vido"', "unknown kind 'vido'"),
        ('title = "M"', "", "'title' is missing"),
        ('title = "M"', "title = 3", "'title' must be str"),
        ("rate = 2.0", "rat = 2.0", "unknown option 'rat'"),
        ('mode = ["x", "y"]', 'mode = ["y"]', "not among"),
        ('world = "large"', 'world = "huge"', "unknown variant 'huge'"),
        ('source = "example.org/m"', 'src = "example.org/m"', "unknown key 'src'"),
        ('default_variant = "small"', 'defaultvariant = "small"', "unknown key 'defaultvariant'"),
        ('id = "m"', 'id = "../m"', "cannot be used as a file name"),
        ("[options]", "[options", "cannot be read"),
    ],
)
def test_wrong_cards_are_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "method.toml"
    assert old in TEXT
    path.write_text(TEXT.replace(old, new))
    with pytest.raises(UserError, match="(?s)" + message.replace(".", r"\.")) as caught:
        read_card(path)
    assert str(path) in str(caught.value) or "file name" in str(caught.value)


def test_variant_follows_protocol_and_data_set(method: Card) -> None:
    world, vspw = load_protocol("world-27-9"), load_protocol("vspw-124")
    chosen = select("m", protocol=world)
    assert (chosen.variant, chosen.options["rate"]) == ("large", 2.0)
    assert chosen.weights == method.folder / "w.safetensors"
    assert chosen.weights_name == "w"
    assert not chosen.untrained
    assert select("m", untrained=True, protocol=vspw).variant == "small"
    assert select("m:small", untrained=True, protocol=world).variant == "small"
    both = [select(n, protocol=world) for n in ("m:large+vote", "m+vote:large")]
    assert all(s.id == "m+vote" and s.variant == "large" for s in both)
    assert both[0].options["vote_window"] == 4
    assert "vote_window" not in both[0].method_options


def test_without_weights_the_file_is_named(method: Card) -> None:
    with pytest.raises(UserError) as caught:
        select("m", protocol=load_protocol("vspw-124"))
    for part in ("m.pth", "example.org/m", "--weights", "--untrained", "vspw-124"):
        assert part in str(caught.value)
    seeded = select("m", untrained=True, protocol=load_protocol("vspw-124"))
    assert seeded.untrained
    assert seeded.weights is None
    assert select("m", untrained=None, protocol=load_protocol("vspw-124")).untrained


@pytest.mark.parametrize(
    ("name", "protocol", "offered"),
    [
        ("maskclip", "camvid-8-3-gzs", False),
        ("maskclip:world", "camvid-8-3-gzs", False),
        ("ov2vss", "camvid-8-3-gzs", True),
        ("ov2vss", "cityscapes-19", False),
        ("closed-set", "camvid-8-3", True),
    ],
)
def test_training_is_offered_where_it_works(name: str, protocol: str, offered: bool) -> None:
    with pytest.raises(UserError) as caught:
        select(name, protocol=load_protocol(protocol))
    assert ("or train it:" in str(caught.value)) == offered
    assert "--weights" in str(caught.value)


def test_each_card_names_its_own_training() -> None:
    found = cards()
    assert "train --method closed-set" in found["closed-set"].official.file
    assert "train --method ov2vss" in found["permuted-text"].official.file


def test_weights_must_exist_and_make_sense(method: Card, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no weights file"):
        select("m", weights=tmp_path / "none.safetensors")
    with pytest.raises(UserError, match="choose one"):
        select("m", weights=method.weights[0].file, untrained=True)
    method.weights[0].file.unlink()
    with pytest.raises(UserError, match="should come with this installation"):
        select("m", protocol=load_protocol("world-27-9"))


def test_weights_for_a_method_without_any() -> None:
    with pytest.raises(UserError, match="takes no weights"):
        select("random", weights=Path(__file__))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("randm", "did you mean random"),
        ("random+votes", "unknown wrapper 'votes'"),
        ("random:x", "unknown variant of random 'x'"),
    ],
)
def test_unknown_names(name: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        select(name)
    assert message in str(caught.value)


def test_settings_take_the_type_of_the_default() -> None:
    defaults = {"rate": 0.5, "n": 3, "on": True, "name": "x", "list": [1, 2], "flag": "on"}
    given = split_settings(["rate=1", "n=7", "on=off", "name=a=b", "list=4,5,6"])
    result = resolve_options("m", defaults, {}, given)
    assert result == {"rate": 1.0, "n": 7, "on": False, "name": "a=b", "list": [4, 5, 6], "flag": "on"}
    assert isinstance(result["rate"], float)
    assert resolve_options("m", defaults, {}, {"flag": False})["flag"] == "off"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["rte=1"], "did you mean rate"),
        (["n=x"], "cannot be 'x'"),
        (["on=maybe"], "on or off"),
        (["mode=z"], "allowed: x, y"),
        (["n"], "key=value"),
        (["n=1", "n=2"], "set twice"),
    ],
)
def test_wrong_settings(settings: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        resolve_options(
            "m",
            {"rate": 0.5, "n": 3, "on": True, "mode": "x"},
            {"mode": ["x", "y"]},
            split_settings(settings),
        )
    assert message in str(caught.value)


def test_shipped_weights_go_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    protocol = load_protocol("world-27-9")
    first, second = (select("ov2vss", weights=name, protocol=protocol) for name in (None, "seed1"))
    assert (first.weights_name, second.weights_name) == ("seed0", "seed1")
    assert first.weights != second.weights and second.shipped
    with pytest.raises(UserError, match="no weights file") as caught:
        select("ov2vss", weights="seed9", protocol=protocol)
    assert "seed0, seed1, seed2" in str(caught.value)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "seed1").write_bytes(b"a file of one's own comes first")
    assert not select("ov2vss", weights="seed1", protocol=protocol).shipped


def test_training_is_offered_for_the_variants_that_a_trainer_takes() -> None:
    """What the cards say against what the trainers ask for."""
    for name, option, wanted in (("sam-clip", "proposals", "points"), ("zsseg", "region_prompt", "same")):
        card = cards()[name]
        for variant in card.variants.values():
            assert variant.trainable == ({**card.options, **variant.options}[option] == wanted), variant.name
    assert selection.trained_variants(cards()["sam-clip"]) == ["world"]
    assert selection.trained_variants(cards()["maskclip"]) == ["world"]
    assert "only world" in card_text(cards()["sam-clip"])
    assert "but for r50-learned-voc15, r101c-learned-voc15" in card_text(cards()["zsseg"])
    assert "yes, with `ovbench train`\n" in card_text(cards()["deop"])
    assert "trainable" not in card_text(cards()["random"])
    vspw = load_protocol("vspw-80-44")
    with pytest.raises(UserError) as caught:
        select("sam-clip:vit-b", protocol=vspw)
    assert "ovbench train" not in str(caught.value)
    assert selection.how_to_train(cards()["zsseg"], "r101c-learned-voc15", vspw) is None


@pytest.mark.parametrize("text", ['trainable = "no"', 'official = { files = "x" }'])
def test_a_variant_is_typed(text: str, tmp_path: Path) -> None:
    path = tmp_path / "method.toml"
    path.write_text(TEXT.replace('description = "s"', text))
    with pytest.raises(UserError, match="true or false|unknown key"):
        read_card(path)
