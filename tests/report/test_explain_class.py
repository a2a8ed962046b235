"""`explain --class` on the run worked out by hand."""

from __future__ import annotations

import pytest
from explain_cases import tiny_protocol, tiny_run

from ovbench.core.errors import UserError
from ovbench.report.explain import explain
from ovbench.report.explain_formats import write_explanation


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    protocol = tiny_protocol(folder)
    return tiny_run(folder / "run", protocol), str(protocol)


@pytest.mark.parametrize("wanted", ["cat_1", "cat", "2"])
def test_a_class_by_name_clean_name_or_index(tiny, wanted):
    found = explain(tiny[0], protocol=tiny[1], wanted=wanted).data()
    assert found["class"] | {"synonyms": None} == found["class"] | {
        "synonyms": None, "index": 2, "name": "cat_1", "clean": "cat", "tp": 5, "fp": 0, "fn": 3,
        "iou": 62.5, "acc": 62.5, "videos": 2, "frames": 4, "groups": ["all", "unseen"], "queried_as": ["cat"],
    }  # fmt: skip
    assert found["went_to"] == [
        {"name": "cat_1", "pixels": 5, "share": 62.5},
        {"name": "sky", "pixels": 2, "share": 25.0},
        {"name": "road", "pixels": 1, "share": 12.5},
    ]
    assert found["came_from"] == [{"name": "cat_1", "pixels": 5, "share": 100.0}]
    assert {r["video"]: (r["iou"], r["tp"], r["truth"]) for r in found["per_video"]} == {
        "a": (50.0, 1, 2), "b": (pytest.approx(100 * 4 / 6), 4, 6),
    }  # fmt: skip
    assert found["weight"]["unseen"] == {
        "weight": 1.0, "miou": 62.5, "miou_without_it": None, "truth_share": 100.0,
    }  # fmt: skip
    assert found["weight"]["all"]["miou_without_it"] == pytest.approx((100 * 10 / 14 + 100 * 7 / 9) / 2)


def test_in_words(tiny):
    text = " ".join(write_explanation(explain(tiny[0], protocol=tiny[1], wanted="cat"), "text").split())
    assert "IoU 62.50 = TP / (TP + FP + FN) = 5 / 8" in text
    assert "8 truth pixels in 2 videos and 4 annotated frames" in text
    assert "Of 8 truth pixels" in text and "sky 2 25.0" in text and "cat_1 (right) 5 62.5" in text
    assert "median 58.3, from 50.0 to 66.7" in text


def test_who_abstained_and_what_was_taken(tiny):
    found = explain(tiny[0], protocol=tiny[1], wanted="road").data()
    assert found["went_to"][1:] == [
        {"name": "car", "pixels": 1, "share": pytest.approx(100 / 12)},
        {"name": "(abstained)", "pixels": 1, "share": pytest.approx(100 / 12)},
    ]
    assert [(r["name"], r["pixels"]) for r in found["came_from"]] == [("road", 10), ("car", 1), ("cat_1", 1)]
    under = found["conventions"]
    assert under["gt-present"]["iou"] == pytest.approx(100 * 10 / 14)
    assert under["gt-present+abstain-shrinks"]["iou"] == pytest.approx(100 * 10 / 13)
    assert under["gt-present+base-ignored"]["fp"] == 1


def test_an_absent_class_and_how_it_enters_each_convention(tiny):
    found = explain(tiny[0], protocol=tiny[1], wanted="sky")
    data = found.data()
    assert (data["class"]["tp"], data["class"]["fp"], data["class"]["enters_iou"]) == (0, 2, False)
    assert (
        not data["conventions"]["gt-present"]["enters_iou"]
        and data["conventions"]["union-present"]["enters_iou"]
    )
    text = write_explanation(found, "text")
    assert "does not occur in the truth" in text and "does not enter mIoU under gt-present" in text


def test_unknown_classes(tiny):
    with pytest.raises(UserError, match="unknown class 'ctt'") as caught:
        explain(tiny[0], protocol=tiny[1], wanted="ctt")
    assert "did you mean cat" in str(caught.value)
    with pytest.raises(UserError, match="unknown class '4'"):
        explain(tiny[0], protocol=tiny[1], wanted="4")


def test_a_class_from_a_summary_alone(tiny):
    found = explain(tiny[0], wanted="car").data()
    assert (found["class"]["tp"], found["class"]["fp"], found["class"]["fn"]) == (7, 1, 1)
    assert found["class"]["frames"] is None and "went_to" not in found
    with pytest.raises(UserError, match="unknown class 'cars'"):
        explain(tiny[0], wanted="cars")


def test_a_class_that_is_not_scored(tmp_path):
    protocol = tiny_protocol(tmp_path)
    text = (
        protocol.read_text().replace('scored = "all"', 'scored = "unseen"').replace('"harmonic"', '"unseen"')
    )
    protocol.write_text(text)
    run = tiny_run(tmp_path / "run", protocol)
    with pytest.raises(UserError, match="'road' is not scored in protocol tiny"):
        explain(run, protocol=str(protocol), wanted="road")
    found = explain(run, protocol=str(protocol)).data()
    assert found["scored"]["pixels"] == {
        "total": 32, "scored": 8, "void": 4, "not_scored": 20, "abstained": 0,
    }  # fmt: skip
    assert found["scores"]["headline"] == "unseen.miou" and found["scores"]["value"] == 62.5
    assert "harmonic" not in found["scores"] and "seen" not in found["scores"]["groups"]
    assert explain(run).data()["scores"]["value"] == 62.5  # from the summary alone
    under = explain(run, protocol=str(protocol), wanted="cat", convention="per-image").data()
    assert "weight" not in under and under["class"]["iou"] == 62.5
