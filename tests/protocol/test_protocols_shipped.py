"""The protocols that come with ovbench say what they claim to say."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from ovbench.core.paths import room
from ovbench.datasets.world.classes import held_out, track_classes
from ovbench.metrics.conventions import ALL_CONVENTIONS, CLASS_RULES
from ovbench.protocol.check import CONVENTIONS
from ovbench.protocol.describe import CONVENTION_WORDS, describe
from ovbench.protocol.load import load_protocol, protocol_ids
from ovbench.protocol.schema import IGNORE, Protocol
from ovbench.protocol.templates import load_templates, template_sets

IDS = (
    "camvid-8-3",
    "camvid-8-3-gzs",
    "cityscapes-19",
    "vspw-124",
    "vspw-80-44",
    "vspw-80-44-gzs",
    "world-27-9",
    "world-27-9-hard",
)
NOVEL8 = {"sidewalk", "fence", "traffic light", "traffic sign", "vegetation", "terrain", "rider", "train"}


def names(protocol: Protocol, group: str) -> set[str]:
    return {protocol.classes[c].name for c in protocol.groups[group]}


def test_all_are_listed() -> None:
    assert set(IDS) <= set(protocol_ids())


@pytest.mark.parametrize("name", IDS)
def test_each_is_consistent(name: str) -> None:
    protocol = load_protocol(name)
    assert protocol.id == name and protocol.convention == "gt-present" and protocol.board
    every = set(range(len(protocol.classes)))
    assert set(protocol.groups["seen"]) | set(protocol.groups["unseen"]) == every
    assert not set(protocol.groups["seen"]) & set(protocol.groups["unseen"])
    assert len(protocol.vocabulary) == len(protocol.vocabulary_classes)
    assert protocol.vocabulary.templates == protocol.templates
    assert len({r.color for r in protocol.classes}) == len(every), "two classes look alike in figures"
    assert all(row.kind in ("thing", "stuff") for row in protocol.classes)
    table = protocol.truth_table
    for index, row in enumerate(protocol.classes):
        assert all(table[raw] == index for raw in row.raw_ids)
    assert all(table[raw] == IGNORE for raw in protocol.ignore_ids)
    assert protocol.hash in describe(protocol)


def test_vspw_classes() -> None:
    protocol = load_protocol("vspw-80-44")
    assert len(protocol.classes) == 124
    assert protocol.raw_ids("seen") == frozenset(range(1, 81))
    assert protocol.raw_ids("unseen") == frozenset(range(81, 125))
    last = protocol.classes[-1]
    assert (last.name, last.raw_ids, last.seen) == ("train", (124,), False)
    spot = {1: "wall", 7: "Playground_slide", 80: "bag_or_package", 81: "trash_can", 118: "Mobile_phone"}
    assert {raw: protocol.classes[protocol.truth_table[raw]].name for raw in spot} == spot
    kinds = [row.kind for row in protocol.classes]
    assert (kinds.count("thing"), kinds.count("stuff")) == (58, 66)


def test_vspw_conventional_setting_scores_all_44() -> None:
    protocol = load_protocol("vspw-80-44")
    assert len(protocol.vocabulary) == len(protocol.scored_classes) == 44
    assert protocol.vocabulary.names[0] == "trash_can" and protocol.vocabulary.names[-1] == "train"
    assert protocol.vocabulary.seen == (False,) * 44
    assert protocol.truth_table[124] in protocol.scored_classes
    assert protocol.class_of_vocabulary[-1] == protocol.truth_table[124] == 123


def test_vspw_generalised_and_transfer() -> None:
    generalised, transfer = load_protocol("vspw-80-44-gzs"), load_protocol("vspw-124")
    for protocol in (generalised, transfer):
        assert len(protocol.vocabulary) == len(protocol.scored_classes) == 124
        assert not any("_" in name for name in protocol.vocabulary.names)
    assert sum(generalised.vocabulary.seen or ()) == 80 and generalised.dataset.train_split == "train"
    assert not any(transfer.vocabulary.seen or ()) and transfer.dataset.train_split is None
    assert len(transfer.groups["first80"]) == 80 and len(transfer.groups["last44"]) == 44
    assert generalised.windows == transfer.windows == (8, 16)


def test_vspw_illegal_and_void_ids() -> None:
    table = load_protocol("vspw-124").truth_table
    assert np.all(table[[0, 252, 253, 254, 255]] == IGNORE)
    assert np.all(table[125:252] == 254) and np.all(table[256:] == 254)


def test_cityscapes_groups() -> None:
    protocol = load_protocol("cityscapes-19")
    assert [r.raw_ids for r in protocol.classes] == [(i,) for i in range(19)]
    assert names(protocol, "unseen") == names(protocol, "novel8") == NOVEL8
    assert names(protocol, "novel3") == {"traffic sign", "rider", "train"}
    assert names(protocol, "novel1") == {"train"}
    assert protocol.windows == () and any("labelled frame" in note for note in protocol.notes)
    vspw = load_protocol("vspw-80-44")
    paper = {"traffic light": "light", "traffic sign": "sign"}
    spelled = {n: paper.get(n, n) for n in names(protocol, "all")}
    assert {n for n, s in spelled.items() if s not in names(vspw, "seen")} == NOVEL8


@pytest.mark.parametrize(("name", "told"), [("camvid-8-3", 3), ("camvid-8-3-gzs", 11)])
def test_camvid(name: str, told: int) -> None:
    protocol = load_protocol(name)
    order = "sky building pole road pavement tree signsymbol fence car pedestrian bicyclist"
    assert [r.name for r in protocol.classes] == order.split()
    assert [r.raw_ids for r in protocol.classes] == [(i,) for i in range(11)]
    assert names(protocol, "unseen") == {"signsymbol", "pedestrian", "bicyclist"}
    assert len(protocol.vocabulary) == len(protocol.scored_classes) == told
    assert protocol.ignore_ids == (11,) and protocol.dataset.split == "val"


@pytest.mark.parametrize(("name", "track"), [("world-27-9", "attribute"), ("world-27-9-hard", "pairs")])
def test_world_agrees_with_its_generator(name: str, track: str) -> None:
    protocol = load_protocol(name)
    assert protocol.dataset.options == {"track": track}
    classes = track_classes(track)
    assert [r.name for r in protocol.classes] == [c.name for c in classes]
    assert [r.raw_ids for r in protocol.classes] == [(c.raw_id,) for c in classes]
    assert [r.kind == "stuff" for r in protocol.classes] == [c.is_stuff for c in classes]
    assert names(protocol, "unseen") == {c.name for c in held_out()}


def test_world_attribute_track_a_look_names_one_thing() -> None:
    things = [r.name for r in load_protocol("world-27-9").classes if r.kind == "thing"]
    assert len({name.rsplit(" ", 1)[0] for name in things}) == len(things) == 24


def test_world_pairs_every_unseen_class_has_twins_one_word_away() -> None:
    protocol = load_protocol("world-27-9-hard")
    for name in names(protocol, "unseen"):
        differ = [
            sum(a != b for a, b in zip(name.split(), s.split(), strict=True)) for s in names(protocol, "seen")
        ]
        assert differ.count(1) >= 2, name


def test_template_sets() -> None:
    templates = load_templates("imagenet80")
    digest = hashlib.sha256("\n".join(templates).encode()).hexdigest()
    assert len(templates) == 80
    assert digest == "4f976686fb651bb5803d4689dcd849f75efe0ef19a3c801355bc9a6f03c8a5af"
    vild = load_templates("vild")
    assert len(vild) == 14 and sum(not t.endswith(".") for t in vild) == 4
    assert load_templates("single") == ("a photo of a {}.",)
    assert len(load_templates("world")) == 6 and "{}" in load_templates("world")
    assert set(template_sets()) >= {"single", "imagenet80", "vild", "world"}


def test_world_prompts_use_known_words() -> None:
    words = set((room("baselines") / "world_clip" / "words.txt").read_text().split())
    for name in ("world-27-9", "world-27-9-hard"):
        vocabulary = load_protocol(name).vocabulary
        prompts = [t.format(n) for t in vocabulary.templates for n in vocabulary.names]
        assert {w for p in prompts for w in p.split()} <= words


def test_the_conventions_a_protocol_may_name_exist() -> None:
    assert list(CONVENTIONS) == list(ALL_CONVENTIONS)
    parts = {part for name in CONVENTIONS for part in name.split("+")}
    assert parts | {""} == set(CONVENTION_WORDS) and set(CLASS_RULES) <= parts
