"""`explain` on a run worked out by hand: every figure in the words and in the JSON."""

from __future__ import annotations

import json

import pytest
from explain_cases import HARMONIC, SEEN, UNSEEN, tiny_protocol, tiny_run
from run_cases import PROTOCOL, make_run

from ovbench.core.errors import IncompleteError, IntegrityError, UserError
from ovbench.metrics.taxonomy import taxonomy_for
from ovbench.protocol.load import load_protocol
from ovbench.report.explain import explain
from ovbench.report.explain_formats import write_explanation
from ovbench.store.rundir import RunDir


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """(run folder, protocol file)"""
    folder = tmp_path_factory.mktemp("tiny")
    protocol = tiny_protocol(folder)
    return tiny_run(folder / "run", protocol), str(protocol)


def words(tiny, **options):
    text = write_explanation(explain(tiny[0], protocol=tiny[1], **options), "text")
    return " ".join(text.split())


def numbers(tiny, **options):
    return json.loads(write_explanation(explain(tiny[0], protocol=tiny[1], **options), "json"))


def test_the_headline_is_a_calculation(tiny):
    text = words(tiny)
    assert "tiny v3" in text and "gt-present" in text
    assert "harmonic mIoU 68.02 = 2 x 74.60 (seen) x 62.50 (unseen) / (74.60 + 62.50)" in text
    assert (
        "unseen mIoU 62.50 = (sum of 1 class IoUs 62.50) / 1 classes that occur in the truth of 2 scored"
        in text
    )
    assert (
        "seen mIoU 74.60 = (sum of 2 class IoUs 149.21) / 2 classes that occur in the truth of 2 scored"
        in text
    )
    assert "all pAcc 78.57 = 22 right / 28 truth pixels" in text
    assert "all mAcc 77.78 = (sum of 3 class accuracies 233.33) / 3" in text
    weighted = 12 * 100 * 10 / 14 + 8 * 100 * 7 / 9 + 8 * 62.5
    assert f"all fwIoU {weighted / 28:.2f} = (sum of class IoU x truth pixels {weighted:,.0f}) / 28" in text


def test_the_same_in_json(tiny):
    found = numbers(tiny)
    assert found["run"]["source"] == "records" and found["run"]["protocol"]["version"] == 3
    assert found["scores"]["headline"] == "harmonic.miou"
    assert found["scores"]["value"] == pytest.approx(HARMONIC)
    assert found["scores"]["harmonic"] == {
        "seen": pytest.approx(SEEN), "unseen": UNSEEN, "value": pytest.approx(HARMONIC),
    }  # fmt: skip
    unseen = found["scores"]["groups"]["unseen"]
    assert (unseen["scored"], unseen["present"]) == (2, 1)
    assert unseen["miou"] == {"sum": 62.5, "classes": 1, "value": 62.5}
    assert unseen["pacc"] == {"right": 5, "pixels": 8, "value": 62.5}
    rows = {c["name"]: c for c in found["classes"]}
    assert [(rows[n]["tp"], rows[n]["fp"], rows[n]["fn"]) for n in ("road", "car", "cat_1", "sky")] == [
        (10, 2, 2), (7, 1, 1), (5, 0, 3), (0, 2, 0),
    ]  # fmt: skip
    assert [(rows[n]["videos"], rows[n]["frames"]) for n in ("road", "cat_1", "sky")] == [
        (2, 4),
        (2, 4),
        (0, 0),
    ]


def test_what_is_scored_and_what_is_void(tiny):
    assert numbers(tiny)["scored"]["pixels"] == {
        "total": 32, "scored": 28, "void": 4, "not_scored": 0, "abstained": 1,
    }  # fmt: skip
    text = words(tiny)
    assert "32 pixels = 28 scored + 4 void (mask ids 0, 255) + 0 of classes" in text
    assert "On 1 of the scored pixels the method abstained" in text
    assert "2 videos, 4 annotated of 4 frames" in text


def test_classes_that_did_not_enter(tiny):
    assert numbers(tiny)["support"]["out"] == [{"name": "sky", "predicted_pixels": 2}]
    assert "1 class did not enter mIoU" in words(tiny) and "'sky'" in words(tiny)


def test_seen_bias_and_interval(tiny):
    found = numbers(tiny)
    assert found["seen_bias"] == {"value": 12.5, "taken": 1, "unseen_pixels": 8, "check": 12.5}
    assert "12.50 % = 1 / 8 truth pixels of unseen classes went to a seen class" in words(tiny)
    summary = RunDir(tiny[0]).summary()
    assert found["interval"]["units"] == 2
    assert found["interval"]["miou"]["unseen"] == summary["intervals"]["scores"]["unseen"]["miou"]
    assert "2 videos, drawn 2 at a time with replacement, 1,000 times" in words(tiny)


def test_temporal_scores_stand_beside_an_accuracy_and_a_constant(tiny):
    found = numbers(tiny)
    # constant truth: all pixels but void in "correct"; right in both frames: a 3 + 2, b 1 + 1 + 2 of 7 each
    assert found["temporal"]["vc2"]["correct"] == pytest.approx(100 * (5 / 7 + 4 / 7) / 2)
    assert found["temporal"]["windows"]["vc2"]["correct"]["windows"] == 2
    assert found["label_free"]["accuracy"]["all"] == pytest.approx(100 * 22 / 28)
    assert found["label_free"]["scores"]["change_rate"] == {
        # a: pixels 3, 6 and 7 change; b: pixels 1 and 3
        "value": pytest.approx(100 * 5 / 16), "constant": 0.0,
    }  # fmt: skip
    assert found["label_free"]["scores"]["vc2.clean"]["constant"] == 100.0
    assert "change_rate" in words(tiny) and "constant" in words(tiny)


UNDER = {  # convention -> (seen, unseen), by hand
    "gt-present": (SEEN, 62.5),
    "union-present": (SEEN, 31.25),
    "all-classes": (SEEN, 31.25),
    "gt-present+abstain-shrinks": ((100 * 10 / 13 + 100 * 7 / 9) / 2, 62.5),
    "gt-present+base-ignored": ((100 * 10 / 13 + 100 * 7 / 9) / 2, 62.5),
    "per-image": (None, (0 + 100 + 100 / 3 + 100 / 3) / 4),
}


@pytest.mark.parametrize("name", UNDER)
def test_the_same_counts_under_every_convention(tiny, name):
    seen, unseen = UNDER[name]
    beside = numbers(tiny)["conventions"][name]["scores"]
    own = numbers(tiny, convention=name)
    assert own["convention"]["id"] == name
    for found in (beside["unseen"]["miou"], own["scores"]["groups"]["unseen"]["miou"]["value"]):
        assert found == pytest.approx(unseen, abs=1e-6)
    if seen is not None:
        assert beside["seen"]["miou"] == pytest.approx(seen, abs=1e-6)
        assert own["scores"]["groups"]["seen"]["miou"]["value"] == pytest.approx(seen, abs=1e-6)


def test_another_convention_in_words(tiny):
    text = words(tiny, convention="union-present")
    assert (
        "unseen mIoU 31.25 = (sum of 2 class IoUs 62.50) / 2 classes that occur in truth or prediction"
        in text
    )
    assert "the protocol's own convention is gt-present" in text
    assert "entered with 0 under union-present: 'sky'" in text
    text = words(tiny, convention="per-image")
    assert "unseen mIoU 41.67 = (sum of 4 values 166.67) / 4 images" in text


def test_published_scripts_stand_below(tiny):
    scripts = numbers(tiny)["scripts"]
    assert scripts["mmseg"]["scores"]["miou"] == pytest.approx((2 * SEEN + 62.5) / 4, abs=1e-4)
    assert scripts["detectron2"]["text"] and "detectron2:" in words(tiny)


def test_a_lone_summary_explains_what_it_can(tiny, tmp_path):
    lone = tmp_path / "mine.json"
    lone.write_text((tiny[0] / "summary.json").read_text())
    found = explain(lone)
    data = found.data()
    assert data["run"]["source"] == "summary" and "only a summary" in data["run"]["lacking"]
    assert data["scores"]["value"] == pytest.approx(HARMONIC)
    assert {c["name"]: c["tp"] for c in data["classes"]} == {"road": 10, "car": 7, "cat_1": 5, "sky": 0}
    assert "conventions" not in data and "scripts" not in data
    assert "Not explained" in write_explanation(found, "text")
    with pytest.raises(UserError, match="needs the records"):
        explain(lone, convention="union-present")


def test_another_version_of_the_protocol_gives_the_reduced_explanation(tiny):
    found = explain(tiny[0])  # "tiny" is no installed protocol
    assert found.data()["run"]["source"] == "summary"
    assert "does not have tiny v3" in write_explanation(found, "text")
    assert found.data()["scores"]["value"] == pytest.approx(HARMONIC)


def test_damage_is_told(tiny, tmp_path):
    folder = tmp_path / "x"
    protocol = str(tiny_protocol(tmp_path))
    run = RunDir(tiny_run(folder, tmp_path / "tiny.toml"))
    summary = run.summary()
    for section, key, value in (("scores", "unseen", {**summary["scores"]["unseen"], "miou": 63.0}),):
        run.write_summary({**summary, section: {**summary[section], key: value}})
    with pytest.raises(
        IntegrityError, match=r"63\.000000 for scores\.unseen\.miou, the records give 62\.500000"
    ):
        explain(folder, protocol=protocol)
    rows = [dict(r) for r in summary["per_class"]]
    rows[0]["prediction"] = 13
    run.write_summary({**summary, "per_class": rows})
    with pytest.raises(IntegrityError, match="13 for per_class.0.prediction, the records give 12"):
        explain(folder, protocol=protocol)
    run.write_summary(summary)
    run.record_path("a").write_text("{")
    with pytest.raises(IntegrityError, match="damaged"):
        explain(folder, protocol=protocol)
    run.record_path("a").unlink()
    with pytest.raises(IntegrityError, match="1 of 2 records are gone"):
        explain(folder, protocol=protocol)
    run.record_path("b").unlink()
    assert explain(folder, protocol=protocol).data()["run"]["source"] == "summary"
    run.summary_path.unlink()
    with pytest.raises(IncompleteError, match="not finished"):
        explain(folder, protocol=protocol)


def test_what_is_no_summary(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        explain(tmp_path / "nothing")
    with pytest.raises(UserError, match="not the folder of a run"):
        explain(tmp_path)
    (tmp_path / "a.json").write_text('{"scores": 1}')
    with pytest.raises(UserError, match="lacks protocol"):
        explain(tmp_path / "a.json")
    (tmp_path / "b.json").write_text("[]")
    with pytest.raises(UserError, match="not a summary"):
        explain(tmp_path / "b.json")


def test_markdown_has_headings_and_whole_tables(tiny):
    text = write_explanation(explain(tiny[0], protocol=tiny[1]), "md")
    assert "### The score (headline: harmonic mIoU)" in text
    for block in text.split("\n\n"):
        if block.startswith("|"):
            assert len({line.count("|") for line in block.splitlines()}) == 1


def test_things_and_stuff_apart(tiny):
    assert "all stuff mIoU 71.43 = (sum of 1 class IoUs 71.43) / 1" in words(tiny)
    assert "all things mIoU 70.14 = (sum of 2 class IoUs 140.28) / 2" in words(tiny)


def test_the_taxonomy_stands_apart(tmp_path):
    found = explain(make_run(tmp_path / "a", 0.5))
    summary = RunDir(tmp_path / "a").summary()["open_vocabulary"]
    assert found.data()["open_vocabulary"] == summary and summary["taxonomy"]["id"] == "camvid"
    text = " ".join(write_explanation(found, "text").split())
    assert "must not be compared with it" in text and "Taxonomy camvid v1" in text
    protocol = load_protocol(PROTOCOL)
    names = {c.name for c in protocol.classes}
    groups = taxonomy_for(protocol).groups
    for group, members in groups.items():
        for c in members:
            data = explain(tmp_path / "a", wanted=str(c)).data()["taxonomy"]
            assert data["group"] == group and data["classes"] == [protocol.classes[m].name for m in members]
            names.discard(protocol.classes[c].name)
    assert groups and explain(tmp_path / "a", wanted=min(names)).data()["taxonomy"]["group"] is None


def test_another_version_of_the_taxonomy_is_no_damage(tmp_path):
    run = RunDir(make_run(tmp_path / "a", 0.5))
    summary = run.summary()
    summary["open_vocabulary"]["merged"]["all"]["miou"] = 1.0
    run.write_summary(summary)
    with pytest.raises(IntegrityError, match="1.000000 for open_vocabulary.merged.all.miou"):
        explain(run.path)
    summary["open_vocabulary"]["taxonomy"]["hash"] = "f" * 64
    run.write_summary(summary)
    assert explain(run.path).data()["open_vocabulary"]["merged"]["all"]["miou"] == 1.0


def test_videos_without_any_truth(tmp_path, monkeypatch):
    monkeypatch.setattr("explain_cases.VIDEOS", {"a": ([0] * 8, [[0] * 8] * 2)})
    protocol = tiny_protocol(tmp_path)
    run = tiny_run(tmp_path / "run", protocol)
    found = explain(run, protocol=str(protocol))
    assert found.data()["scores"]["value"] is None and found.data()["scored"]["pixels"]["scored"] == 0
    text = " ".join(write_explanation(found, "text").split())
    assert "all: none of its 4 scored classes occurs in the truth, so it has no score" in text
    assert "One video: there is nothing to resample" in text
    json.loads(write_explanation(found, "json"))


@pytest.mark.parametrize(("videos", "share"), [(4, 32), (8, 34), (1000, 37)])
def test_how_often_a_class_of_one_video_is_left_out_depends_on_the_videos(videos, share):
    from ovbench.metrics.conventions import convention
    from ovbench.report.explain_counts import ClassFacts
    from ovbench.report.explain_parts import left_out_part

    fact = ClassFacts(0, "cat", "unseen", "thing", 1, 1, 1, 1, 1, True, True)
    body = " ".join(left_out_part([fact], convention("gt-present"), videos).body)
    assert f"out {share} % of the time" in body
