"""Comparisons: the sign of the effect, who may be compared, and what is said about it."""

from __future__ import annotations

import csv
import dataclasses
import io
import json

import pytest
from run_cases import PROTOCOL, VIDEOS, make_run, own_protocol

from ovbench.cli.main import main
from ovbench.core.errors import IncompleteError, IntegrityError, UserError
from ovbench.protocol.load import load_protocol
from ovbench.report.compare import THIN, compare_runs, compare_with_first
from ovbench.report.compare_formats import write_comparison, write_comparisons
from ovbench.stats.multiple import holm
from ovbench.store.rundir import RunDir


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("pair")
    return make_run(tmp_path / "a", 0.4, variant="a"), make_run(tmp_path / "b", 0.6, variant="b")


def scores(comparison):
    return {s.key: s for s in comparison.scores}


def test_effects_are_b_minus_a_of_the_summaries(pair):
    found = compare_runs(*pair)
    first, second = (RunDir(p).summary()["scores"] for p in pair)
    for key, line in scores(found).items():
        if key.endswith(".miou"):
            group = key.partition(".")[0]
            assert line.effect == pytest.approx(second[group]["miou"] - first[group]["miou"])
            assert line.low < line.effect < line.high and line.verdict == "better"
            assert line.p < 0.02
    assert found.videos == len(VIDEOS) and found.scores[0].key == "harmonic.miou"
    assert (found.a, found.b) == ("maskclip:a", "maskclip:b")


def test_the_other_way_round_turns_every_sign(pair):
    there, back = scores(compare_runs(*pair)), scores(compare_runs(*pair[::-1]))
    opposite = {"better": "worse", "worse": "better", "tie": "tie", "undefined": "undefined"}
    assert list(there) == list(back)
    for key in there:
        assert back[key].verdict == opposite[there[key].verdict]
        if there[key].verdict == "undefined":  # four frames hold no window
            assert key.startswith("vc") and there[key].effect is back[key].effect is None
        else:
            assert back[key].effect == pytest.approx(-there[key].effect)


def test_less_seen_bias_is_better(pair):
    line = scores(compare_runs(*pair))["seen_bias"]
    assert line.effect < 0 and line.verdict == "better"


def test_equal_runs_tie(tmp_path):
    runs = [make_run(tmp_path / n, 0.5, seed=s) for n, s in (("a", 1), ("b", 1))]
    for line in compare_runs(*runs).scores:
        undefined = line.key.startswith("vc")
        assert (line.effect, line.verdict, line.p) == (
            (None, "undefined", None) if undefined else (0, "tie", 1)
        )


def test_classes_are_sorted_by_the_size_of_the_difference(pair):
    found = compare_runs(*pair, classes=4)
    assert len(found.classes) == 4
    every = compare_runs(*pair, classes=99).classes
    assert [abs(c.effect) for c in every] == sorted((abs(c.effect) for c in every), reverse=True)
    first, second = ({c["name"]: c["iou"] for c in RunDir(p).summary()["per_class"]} for p in pair)
    for line in every:
        assert (line.a, line.b) == (pytest.approx(first[line.name]), pytest.approx(second[line.name]))


def test_class_lines_say_what_they_rest_on(tmp_path, pair):
    summary = {c["name"]: c for c in RunDir(pair[0]).summary()["per_class"]}
    pixels = sum(c["truth"] for c in summary.values())
    for line in compare_runs(*pair, classes=99).classes:
        assert line.videos == summary[line.name]["videos"]
        assert line.share == pytest.approx(100 * summary[line.name]["truth"] / pixels)
    few = [make_run(tmp_path / n, r, videos=VIDEOS[: THIN - 1]) for n, r in (("a", 0.4), ("b", 0.6))]
    text = write_comparison(compare_runs(*few), "text")
    assert f"{THIN - 1} !" in text and f"!: fewer than {THIN} videos" in text
    assert "!:" not in write_comparison(compare_runs(*pair), "text")


def test_p_is_corrected_for_all_scores_shown(tmp_path, pair):
    lines = compare_runs(*pair).scores
    assert [s.p_adjusted for s in lines] == pytest.approx(holm([s.p for s in lines]))
    third = make_run(tmp_path / "c", 0.41, variant="c")
    found = compare_with_first([*pair, third])
    assert [(c.a, c.b) for c in found] == [("maskclip:a", "maskclip:b"), ("maskclip:a", "maskclip:c")]
    every = [s for c in found for s in c.scores]
    assert [s.p_adjusted for s in every] == pytest.approx(holm([s.p for s in every]))
    assert max(s.p_adjusted for s in lines if s.p) < max(s.p_adjusted for s in found[0].scores if s.p)
    with pytest.raises(UserError, match="needs two runs"):
        compare_with_first([pair[0]])


def test_videos_needed_for_an_effect(pair):
    own, small = (scores(compare_runs(*pair, effect=e))["all.miou"] for e in (None, 0.1))
    assert own.needed < small.needed
    assert scores(compare_runs(*pair, effect=0.1, power=0.95))["all.miou"].needed > small.needed
    note = next(n for n in compare_runs(*pair, effect=0.1, power=0.9).notes if "videos needed" in n)
    assert "0.1" in note and "90 %" in note
    far = dataclasses.replace(compare_runs(*pair), scores=(dataclasses.replace(own, needed=10**9),))
    assert ">100,000" in write_comparison(far, "text")
    effects = [{"effect": e} for e in (0.0, -1.0, 200.0, float("inf"), float("nan"))]
    for wrong in ({"power": 1.0}, {"power": 80}, *effects):
        with pytest.raises(UserError):
            compare_runs(*pair, **wrong)


def test_label_free_scores_stand_beside_the_constant(pair):
    notes = compare_runs(*pair, columns="all").notes
    (note,) = [n for n in notes if "constant prediction" in n]
    assert "change rate 0.0" in note and "excess change -" in note
    assert not any("constant prediction" in n for n in compare_runs(*pair).notes)


def test_other_videos_need_common(tmp_path, pair):
    short = make_run(tmp_path / "short", 0.6, videos=VIDEOS[2:5], partial="some")
    with pytest.raises(IncompleteError, match="5 are in one only, first: 'v0'"):
        compare_runs(pair[0], short)
    found = compare_runs(pair[0], short, common=True)
    assert found.videos == 3
    assert any("Only the 3 videos that both runs hold" in n for n in found.notes)
    assert any("no verdict" in n for n in found.notes) and any("PARTIAL" in n for n in found.notes)
    alone = make_run(tmp_path / "alone", 0.6, videos=("v90", "v91"))
    with pytest.raises(IncompleteError, match="no video in common"):
        compare_runs(pair[0], alone, common=True)


def test_other_protocols_are_refused(tmp_path, pair):
    other = dataclasses.replace(load_protocol(PROTOCOL), hash="f" * 64)
    runs = [make_run(tmp_path / n, 0.5, protocol=other) for n in ("c", "d")]
    with pytest.raises(UserError, match="different protocols"):
        compare_runs(pair[0], runs[0])
    with pytest.raises(UserError, match="another version of protocol"):
        compare_runs(*runs)


def test_a_users_own_protocol_needs_its_file(tmp_path):
    path = own_protocol(tmp_path)
    runs = [make_run(tmp_path / n, 0.5, protocol=load_protocol(str(path))) for n in ("c", "d")]
    with pytest.raises(UserError, match="unknown protocol 'mine'") as caught:
        compare_runs(*runs)
    assert str(runs[0]) in str(caught.value) and "--protocol FILE.toml" in str(caught.value)
    assert compare_runs(*runs, protocol=str(path)).videos == len(VIDEOS)


def test_other_truth_is_refused(tmp_path, pair):
    moved = make_run(tmp_path / "moved", 0.5, salt=1)
    with pytest.raises(IntegrityError, match="different truth in video 'v0'"):
        compare_runs(pair[0], moved)


def test_other_frame_limits_are_refused(tmp_path, pair):
    cut = make_run(tmp_path / "cut", 0.5, changes={"frames": 3})
    with pytest.raises(IncompleteError, match="numbers of frames"):
        compare_runs(pair[0], cut)


def test_formats(pair):
    found = compare_runs(*pair, columns="all")
    data = json.loads(write_comparison(found, "json"))
    rows = list(csv.DictReader(io.StringIO(write_comparison(found, "csv"))))
    assert [r["name"] for r in rows if r["kind"] == "score"] == [s["key"] for s in data["scores"]]
    assert "all.pacc" in scores(found)
    for format in ("text", "md"):
        text = write_comparison(found, format)
        assert "harmonic mIoU" in text and "Largest differences" in text and found.classes[0].name in text
    assert [r["p_adjusted"] != "" for r in rows] == [r["p"] != "" for r in rows]
    assert rows[0]["videos"] == str(len(VIDEOS)) and rows[0]["run_b"] == "maskclip:b"
    with pytest.raises(UserError, match="unknown format"):
        write_comparison(found, "latex")


def test_formats_of_several(pair):
    found = compare_with_first([pair[0], pair[1], pair[0]])
    assert len(json.loads(write_comparisons(found, "json"))) == 2
    rows = list(csv.DictReader(io.StringIO(write_comparisons(found, "csv"))))
    assert len(rows) == sum(len(c.scores) + len(c.classes) for c in found)
    for format in ("text", "md"):
        assert write_comparisons(found, format).count("Largest differences") == 2


def test_flows_of_one_run_only_are_named(pair, tmp_path):
    def with_flow(folder):
        for path in (folder / "records").iterdir():
            record = json.loads(path.read_text())
            empty = record["counts"]["per_frame"]
            record["counts"]["flow"] = {"dis": {"pairs": empty, "excluded": [0] * 4}}
            path.write_text(json.dumps(record))
        return folder

    flow = with_flow(make_run(tmp_path / "flow", 0.6))
    (note,) = [n for n in compare_runs(pair[0], flow).notes if "flow" in n]
    assert note == "No scores along the flow of 'dis': only B was counted with it."


def test_the_third_run_is_c_and_no_classes_no_table(pair):
    found = compare_with_first([pair[0], pair[1], pair[0]], classes=0)
    assert [c.letter for c in found] == ["B", "C"]
    for format in ("text", "md"):
        text = " ".join(write_comparisons(found, format).split())
        assert "C = maskclip:a" in text and "C - A" in text and "C is" in text
        assert "Largest differences" not in text and "The interval decides what C is" in text


def test_folders_that_hold_runs(pair):
    assert compare_runs(pair[0] / "summary.json", pair[1]).videos == len(VIDEOS)
    with pytest.raises(UserError, match="holds runs and is none itself") as caught:
        compare_runs(pair[0].parent, pair[1])
    assert str(pair[0]) in str(caught.value)
    with pytest.raises(UserError, match="no such file or folder"):
        compare_runs(pair[0] / "nothing", pair[1])


def test_the_verb(tmp_path, pair, capsys):
    with pytest.raises(SystemExit) as done:
        main(["compare", *map(str, pair)])
    assert done.value.code == 0
    assert "better" in capsys.readouterr().out
    with pytest.raises(SystemExit) as done:
        main(["compare", *map(str, pair), str(pair[0]), "--effect", "1.5", "--power", "0.9"])
    out = capsys.readouterr().out
    assert done.value.code == 0 and "videos needed" in out and "1.5" in out and out.count("A = ") == 2
    for wrong in ([str(pair[0])], [*map(str, pair), "--power", "2"], [*map(str, pair), "--effect", "0"]):
        with pytest.raises(SystemExit) as failed:
            main(["compare", *wrong])
        assert failed.value.code == 2
    capsys.readouterr()
    short = make_run(tmp_path / "short", 0.6, videos=VIDEOS[2:5])
    with pytest.raises(SystemExit) as failed:
        main(["compare", str(pair[0]), str(short)])
    assert failed.value.code == 3
    assert "--common" in capsys.readouterr().err
