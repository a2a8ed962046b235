"""Names that a method may answer, but that are no class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from own_protocol import write

from ovbench.core.errors import UserError
from ovbench.metrics.counts import counter_for
from ovbench.metrics.sums import class_sums
from ovbench.protocol.describe import as_dict, describe
from ovbench.protocol.load import load_protocol

AFTER = 'vocabulary = "all"\n'


def own(folder: Path, names: str, old: str = AFTER, new: str = AFTER) -> str:
    return str(write(folder, old, f"{new}extra_names = {names}\n"))


def test_they_come_last_and_are_no_class(tmp_path: Path) -> None:
    plain = load_protocol(str(write(tmp_path / "a")))
    protocol = load_protocol(own(tmp_path / "b", '["background", "none of these"]'))
    count = len(plain.vocabulary)
    assert protocol.vocabulary.names == (*plain.vocabulary.names, "background", "none of these")
    assert protocol.vocabulary.seen == (*(plain.vocabulary.seen or ()), False, False)
    assert protocol.class_of_vocabulary.tolist()[count:] == [-1, -1]
    assert protocol.scored_classes == plain.scored_classes and protocol.groups == plain.groups
    assert protocol.hash != plain.hash
    told = " ".join(describe(protocol).split())
    assert "'background', 'none of these', which is no class: always wrong, like 'other'" in told
    assert f"{count} background, {count + 1} none of these" in told
    assert as_dict(protocol)["extra_names"] == ["background", "none of these"]


def test_synonyms_are_kept_apart(tmp_path: Path) -> None:
    path = Path(own(tmp_path, '["background"]'))
    path.write_text(path.read_text().replace('name_variant = "clean"', 'name_variant = "clean+synonyms"'))
    assert load_protocol(str(path)).vocabulary.synonyms[-1] == ("background",)


def test_an_empty_list_changes_nothing(tmp_path: Path) -> None:
    assert load_protocol(own(tmp_path / "b", "[]")).hash == load_protocol(str(write(tmp_path / "a"))).hash


def test_they_count_like_other(tmp_path: Path) -> None:
    protocol = load_protocol(own(tmp_path, '["background"]'))
    extra = len(protocol.vocabulary) - 1
    raw = protocol.classes[0].raw_ids[0]
    truth = np.array([[raw, raw, raw]], np.uint8)
    found = []
    for answer in (extra, 255):
        counter = counter_for(protocol)
        counter.update(truth, np.array([[0, answer, answer]], np.uint8))
        found.append(class_sums(protocol, counter.finish()))
    for name in ("intersection", "truth", "prediction"):
        assert np.array_equal(getattr(found[0], name), getattr(found[1], name))
    assert found[0].truth[0] == 3 and found[0].prediction.sum() == found[0].intersection.sum() == 1


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ('["background", "background"]', "a string appears twice"),
        ('[" background"]', "begins or ends with a blank"),
        ('"background"', "is not such a list"),
        ("[3]", "is not such a list"),
        ('["trash_can"]', "'trash_can' is a class of the class table"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, names: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_protocol(own(tmp_path, names))
    assert "extra_names" in str(caught.value)


def test_the_released_convention_needs_its_setting(tmp_path: Path) -> None:
    path = write(tmp_path, AFTER, f'{AFTER}convention = "ov2vss-released"\n')
    with pytest.raises(UserError, match="unseen names on unseen pixels") as caught:
        load_protocol(str(path))
    assert "key 'convention'" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "begins"),
    [
        ("camvid-8-3", "8bfcca60360a"),
        ("camvid-8-3-gzs", "25bdb9944e57"),
        ("cityscapes-19", "33521f8fd390"),
        ("vspw-124", "4d0d48bee464"),
        ("vspw-80-44", "9b1ef080fbf8"),
        ("vspw-80-44-gzs", "b0cf07dbf010"),
        ("world-27-9", "ad83ed89d2a4"),
        ("world-27-9-hard", "ae388030c5e9"),
    ],
)
def test_protocols_without_them_are_what_they_were(name: str, begins: str) -> None:
    """Hashes of version 1: records made before there were extra names still belong to these protocols."""
    assert load_protocol(name).hash.startswith(begins)
