"""Training may see the seen classes and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ovbench.core.errors import UserError
from ovbench.core.paths import room
from ovbench.datasets.base import ArrayVideo
from ovbench.engine.targets import IGNORE, SeenTargets
from ovbench.protocol.schema import ClassInfo, DatasetSpec, Protocol


def make_protocol(**changes: object) -> Protocol:
    rows = (
        ClassInfo((1, 7), "road", "road", ("street",), True, "stuff", (0, 0, 0)),
        ClassInfo((2,), "traffic_sign", "traffic sign", (), False, "thing", (1, 0, 0)),
        ClassInfo((3,), "car", "car", (), True, "thing", (2, 0, 0)),
        ClassInfo((300,), "bicycle", "bicycle", (), False, "thing", (3, 0, 0)),
    )
    protocol = Protocol(
        id="small",
        version=1,
        title="",
        description="",
        dataset=DatasetSpec("folder", "val", "train"),
        classes=rows,
        ignore_ids=(0, 255),
        groups={"all": (0, 1, 2, 3), "seen": (0, 2), "unseen": (1, 3)},
        vocabulary_mode="unseen",
        vocabulary_classes=(1, 3),
        scored="unseen",
        scored_classes=(1, 3),
        name_variant="clean",
        template_set="single",
        templates=("a photo of a {}.",),
        resize="native",
        convention="gt-present",
        windows=(),
        temporal_modes=(),
        headline_group="unseen",
        notes=(),
        hash="0" * 64,
    )
    return replace(protocol, **changes)


def test_by_hand() -> None:
    targets = SeenTargets(make_protocol())
    out = targets(np.array([[1, 7, 2], [3, 0, 255]], np.uint8))
    assert out.tolist() == [[0, 0, IGNORE], [1, IGNORE, IGNORE]]
    assert out.dtype == np.uint8
    assert targets.classes == (0, 2) and len(targets) == 2
    assert targets.vocabulary.names == ("road", "car") and targets.vocabulary.seen == (True, True)
    assert SeenTargets(make_protocol(name_variant="clean+synonyms")).vocabulary.synonyms[0] == (
        "road",
        "street",
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([0, 1, 2, 3, 7, 255, 300]), min_size=1, max_size=40))
def test_unseen_ids_never_come_out(ids: list[int]) -> None:
    targets = SeenTargets(make_protocol())
    mask = np.array([ids], np.uint16)
    out = targets(mask)
    assert (out[np.isin(mask, [0, 2, 255, 300])] == IGNORE).all()
    assert set(np.unique(out)) <= {0, 1, IGNORE}
    assert (out[np.isin(mask, [1, 7])] == 0).all() and (out[mask == 3] == 1).all()


def test_an_unseen_target_is_refused() -> None:
    for name in ("traffic_sign", "traffic sign", "bicycle"):
        with pytest.raises(UserError, match="unseen class"):
            SeenTargets(make_protocol(), names=["car", name])
    with pytest.raises(UserError, match="unknown class name 'cart'") as caught:
        SeenTargets(make_protocol(), names=["cart"])
    assert "did you mean car" in (caught.value.hint or "")


def test_a_subset_of_the_seen_classes() -> None:
    targets = SeenTargets(make_protocol(), names=["car"])
    assert targets(np.array([[1, 2, 3]], np.uint8)).tolist() == [[IGNORE, IGNORE, 0]]


def test_undeclared_ids_name_video_and_frame() -> None:
    masks = np.array([[[1, 3]], [[1, 9]]], np.uint8)
    video = ArrayVideo(np.zeros((2, 1, 2, 3), np.uint8), masks, "clip7")
    targets = SeenTargets(make_protocol())
    assert targets.read(video, 0).tolist() == [[0, 1]]
    with pytest.raises(UserError, match=r"\[9\]") as caught:
        targets.read(video, 1)
    assert "clip7, frame 00001" in str(caught.value)


def test_hidden_places_tell_no_unseen_class_from_another() -> None:
    masks = np.array([[[1, 2, 300, 0, 255, 3]]], np.uint16)
    video = ArrayVideo(np.zeros((1, 1, 6, 3), np.uint8), masks, "clip7")
    hidden = SeenTargets(make_protocol()).hidden(video, 0)
    assert hidden.dtype == np.bool_ and hidden.tolist() == [[False, True, True, False, False, False]]
    blind = ArrayVideo(np.zeros((1, 1, 6, 3), np.uint8), None, "clip8")
    with pytest.raises(UserError, match="without a mask") as caught:
        SeenTargets(make_protocol()).hidden(blind, 0)
    assert "clip8" in str(caught.value) and "mask_images=none" in str(caught.value)


def test_nothing_seen_and_contradictions() -> None:
    rows = make_protocol().classes
    with pytest.raises(UserError, match="no seen classes"):
        SeenTargets(make_protocol(classes=tuple(replace(r, seen=False) for r in rows)))
    double = (*rows[:3], replace(rows[3], raw_ids=(3,)))
    with pytest.raises(UserError, match=r"\[3\] are both seen and not"):
        SeenTargets(make_protocol(classes=double))


def test_training_code_reads_masks_through_targets_only() -> None:
    files = [p for p in room("baselines").glob("*/*.py") if "train" in p.name]
    offenders = [str(p) for p in files if ".truth(" in p.read_text() or "truth_table" in p.read_text()]
    assert files and not offenders, offenders


def test_protocols_of_the_house() -> None:
    from ovbench.protocol.load import load_protocol, protocol_ids

    ids = protocol_ids()
    assert ids
    for name in ids:
        protocol = load_protocol(name)
        if not any(row.seen for row in protocol.classes):
            continue
        targets = SeenTargets(protocol)
        unseen = [i for row in protocol.classes if not row.seen for i in row.raw_ids]
        if unseen:
            assert (targets(np.array([unseen], np.uint16)) == IGNORE).all(), name
        assert Path(name).name == name
