"""Which names count as seen, rule by rule."""

from __future__ import annotations

import pytest

from ovbench.core.errors import UserError
from ovbench.nn.seen import decide, seen_flags, training_names
from ovbench.protocol.vocabulary import Vocabulary

NAMES = ("Building", "wall-brick", "road", "sofa, couch", "ghost")


def test_rules() -> None:
    trained = training_names("coco-stuff-156")
    assert len(trained) == 156
    free, flagged = Vocabulary(NAMES), Vocabulary(NAMES, seen=["ghost"])
    by_name = (True, True, False, True, False)
    assert seen_flags(free, "names", trained) == seen_flags(flagged, "names", trained) == by_name
    assert seen_flags(free, "flags-or-names", trained) == by_name
    assert (
        seen_flags(flagged, "flags-or-names", trained)
        == seen_flags(flagged, "flags")
        == (False,) * 4 + (True,)
    )
    assert seen_flags(free, "flags") == seen_flags(flagged, "none", trained) == (False,) * 5


def test_synonyms_count() -> None:
    vocabulary = Vocabulary(["settee"], synonyms=[("settee", "couch")])
    assert seen_flags(vocabulary, "names", ["couch"]) == (True,)


def test_unknown_names() -> None:
    with pytest.raises(UserError, match="flags"):
        seen_flags(Vocabulary(NAMES), "flag")
    with pytest.raises(UserError, match="coco-stuff-156"):
        training_names("coco")


def test_what_a_run_says_of_it() -> None:
    flagged = Vocabulary(["road", "wall-brick", "ghost"], seen=["road"])
    by_flags = decide(flagged, "flags", (), "coco-stuff-156")
    assert by_flags.facts() == {"seen_rule": "flags", "seen_names": ["road"]}
    by_names = decide(flagged, "names", (), "coco-stuff-156").facts()
    assert by_names["seen_names"] == ["wall-brick"]
    assert by_names["seen_by_training_names"] == "coco-stuff-156"
    assert "(coco-stuff-156): wall-brick." in by_names["remark"]
    assert "of these unseen: wall-brick." in by_names["remark"]
    own = decide(Vocabulary(["road", "ghost"]), "flags-or-names", ("ghost",), "no such list")
    assert own.flags == (False, True) and own.trained == "the weights' own" and not own.contrary
    nobody = decide(Vocabulary(["ghost"]), "names", (), "coco-stuff-156")
    assert "none of them" in nobody.facts()["remark"]
    with pytest.raises(UserError, match="no list of those"):
        decide(flagged, "names", (), "")
