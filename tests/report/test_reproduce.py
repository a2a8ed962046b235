"""Published beside measured: which runs count, what a difference is, what is missing and why."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from make_trees import make_camvid
from run_cases import PROTOCOL, make_run

from ovbench.cli.main import main
from ovbench.core.errors import IntegrityError, UserError
from ovbench.engine.reproduce import Means, check_weights, command, obstacle, run_rows
from ovbench.protocol.load import load_protocol
from ovbench.report.reproduce import REFERENCE, Setting, build, setting
from ovbench.report.reproduce_formats import FORMATS, write
from ovbench.report.reproduce_model import Line, Reproduction
from ovbench.stats.seeds import over_unpaired_seeds
from ovbench.store.rundir import RunDir


@pytest.fixture(scope="module")
def asked() -> Setting:
    """Table I as if CamVid were its data: the protocol that the test runs are made with."""
    return replace(setting("table1", world=True), protocol=load_protocol(PROTOCOL))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seeds of OV2VSS, one of ZegFormer and DeOP; and runs that must not be used."""
    root = tmp_path_factory.mktemp("runs")
    for seed in range(3):
        make_run(
            root / f"full{seed}",
            0.7 + 0.01 * seed,
            method="ov2vss",
            variant="world",
            weights=f"w{seed}",
            seed=seed,
        )
    make_run(root / "z-again", 0.2, method="ov2vss", variant="world", weights="w0")
    make_run(root / "off", 0.1, method="ov2vss", variant="world", weights="w1", options={"temporal": False})
    make_run(root / "vote", 0.1, method="ov2vss+vote", variant="world", weights="w1")
    make_run(root / "zeg", 0.3, method="zegformer", variant="world", weights="z", seed=7)
    make_run(root / "deop", 0.9, method="deop", variant="world", weights="d", seed=8)
    make_run(root / "zsseg", 0.9, method="zsseg", variant="world", untrained=True)
    make_run(root / "san", 0.9, method="san", variant="world", partial="first 2 of 8 videos")
    return root


@pytest.fixture(scope="module")
def table(asked: Setting, runs: Path) -> Reproduction:
    return build(asked, [runs])


def of(table: Reproduction, row: str) -> Line:
    return next(line for line in table.lines if line.entry.row == row)


def test_measured_is_what_the_summaries_say(table: Reproduction, runs: Path) -> None:
    full, zeg = of(table, REFERENCE), of(table, "ZegFormer, ResNet-101")
    summaries = [RunDir(runs / f"full{seed}").summary() for seed in range(3)]
    mean = sum(s["scores"]["unseen"]["miou"] for s in summaries) / 3
    assert full.seeds == 3 and full.cells["miou"].value == pytest.approx(mean)
    assert full.cells["miou"].sd is not None
    alone = RunDir(runs / "zeg").summary()
    for key, value in alone["scores"]["unseen"].items():
        if key in zeg.cells:
            assert zeg.cells[key].value == pytest.approx(value)
    low, high = alone["intervals"]["scores"]["unseen"]["miou"]
    assert (zeg.cells["miou"].low, zeg.cells["miou"].high) == (pytest.approx(low), pytest.approx(high))
    difference = zeg.differences["miou"]
    assert difference.value == pytest.approx(alone["scores"]["unseen"]["miou"] - 1.91)
    assert difference.low == pytest.approx(low - 1.91)


def test_gaps_and_their_signs(table: Reproduction) -> None:
    full, zeg, deop = (of(table, row) for row in (REFERENCE, "ZegFormer, ResNet-101", "DeOP, ResNet-101"))
    assert zeg.published_gap == pytest.approx(1.91 - 17.22)
    assert zeg.gap.value == pytest.approx(zeg.cells["miou"].value - full.cells["miou"].value)  # type: ignore[operator]
    assert zeg.verdict == "as published" and deop.verdict == "opposite"
    assert full.gap.value is None and full.published_gap is None
    (order,) = [note for note in table.notes if note.startswith("Order by mIoU of the 3 rows")]
    assert "2 of 3 pairs stand as published (Kendall's tau 0.33)" in order


def test_what_is_missing_says_why_and_how(table: Reproduction, asked: Setting) -> None:
    zsseg, san = of(table, "zsseg.baseline, ResNet-101"), of(table, "SAN, ResNet-101")
    assert "an untrained run" in zsseg.missing and not zsseg.cells
    assert "a partial run: first 2 of 8 videos" in san.missing
    assert san.command.startswith("ovbench") and f"--method san:world --protocol {PROTOCOL}" in san.command
    absent = of(table, "OV2VSS, ViT-B2")
    assert absent.absent and not absent.command
    assert table.missing == 4
    empty = build(asked, [])
    assert empty.missing == 7 and not any(line.cells for line in empty.lines)
    assert write(empty, "text").count("MISSING") >= 7 * 5


def test_formats_hold_the_same_numbers(table: Reproduction) -> None:
    zeg = of(table, "ZegFormer, ResNet-101")
    value = zeg.cells["miou"].value
    assert value is not None
    for name in ("text", "md", "latex", "html"):
        text = write(table, name)
        assert f"{value:.1f}" in text and "1.91" in text and "MISSING" in text, name
        assert table.facts["hash"][:12] in text, name  # type: ignore[index]
    row = next(
        r for r in csv.DictReader(io.StringIO(write(table, "csv"))) if r["row"] == "ZegFormer, ResNet-101"
    )
    assert float(row["miou.value"]) == pytest.approx(value, rel=1e-5) and row["miou.published"] == "1.91"
    assert float(row["miou.difference.value"]) == pytest.approx(value - 1.91, rel=1e-4)
    plain = json.loads(write(table, "json"))
    assert (
        plain["lines"][0]["cells"]["miou"]["value"] == value
        and plain["lines"][0]["verdict"] == "as published"
    )
    with pytest.raises(UserError, match="unknown format"):
        write(table, "pdf")
    assert set(FORMATS) == {"text", "md", "csv", "latex", "html", "json"}


def test_a_tampered_summary_is_refused(asked: Setting, runs: Path, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "zeg", 0.3, method="zegformer", variant="world", weights="z")
    path = RunDir(folder).summary_path
    summary = json.loads(path.read_text())
    summary["scores"]["unseen"]["miou"] += 1
    path.write_text(json.dumps(summary))
    with pytest.raises(IntegrityError, match=r"scores\.unseen\.miou"):
        build(asked, [tmp_path])


def test_obstacles_are_named() -> None:
    protocol = load_protocol("vspw-80-44")
    assert obstacle("nothing:world", protocol, Means()) == "this installation has no method 'nothing'"
    assert obstacle("ov2vss:b2", protocol, Means()) == "method 'ov2vss' has no variant 'b2'"
    reason = obstacle("zegformer:coco-r101", protocol, Means()) or ""
    assert "no weights of zegformer" in reason and "github.com" in reason
    assert obstacle("zegformer:world", load_protocol("world-27-9"), Means()) is None
    with pytest.raises(UserError, match="no row of this table is 'sann'"):
        check_weights(Means(weights={"sann": Path("x")}), ["san:b16"])
    with pytest.raises(UserError, match="no weights file here"):
        check_weights(Means(weights={"san": Path("x")}), ["san:b16"])


def test_rows_are_run_once_and_others_say_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ovbench.engine.plan.code_sha256", lambda folders=(): "the same all along")
    said: list[str] = []
    methods, means = (
        ["constant", "no-such:world", "zegformer:coco-r101", ""],
        Means(make_camvid(tmp_path / "data"), jobs=1),
    )
    out = tmp_path / "out"
    failed = run_rows(methods, PROTOCOL, out, means, said.append)
    assert failed.pop("no-such:world") == "this installation has no method 'no-such'"
    assert (
        list(failed) == ["zegformer:coco-r101"] and "no weights of zegformer" in failed["zegformer:coco-r101"]
    )
    record = sorted((out / "constant" / "records").iterdir())[0]
    before = record.stat().st_mtime_ns
    assert RunDir(out / "constant").summary()["complete"]
    run_rows(methods, PROTOCOL, out, means, said.append)
    assert record.stat().st_mtime_ns == before and said == ["[1/1] constant"] * 2
    monkeypatch.setattr("ovbench.engine.plan.code_sha256", lambda folders=(): "other code")
    run_rows(methods, PROTOCOL, out, means, said.append)
    assert record.stat().st_mtime_ns > before, "a run of other code is done again"


def test_unpaired_seeds_widen_an_interval() -> None:
    span = (-2.0, 4.0)
    assert over_unpaired_seeds(span, 1.0, [5.0], [4.0]) is None
    assert over_unpaired_seeds(span, 1.0, [5.0, 5.0], [4.0]) == span
    low, high = over_unpaired_seeds(span, 1.0, [4.0, 5.0, 6.0], [3.0, 4.0, 5.0]) or (0, 0)
    half = 2.7764 * (2 / 3) ** 0.5  # four degrees of freedom
    assert low == pytest.approx(1 - (9 + half**2) ** 0.5, abs=1e-3)
    assert high == pytest.approx(1 + (9 + half**2) ** 0.5, abs=1e-3)


def test_the_verb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for words, code, said in (
        (["table9"], 2, "unknown table 'table9'"),
        (["table2"], 3, "6 of 6 rows have no measurement"),
        (["table1", "nowhere"], 2, "there is no such file or folder"),
        (["table1", "--weights", "san"], 2, "METHOD=FILE"),
        (["table1", "--seeds", "3"], 2, "table1 takes no --seeds"),
        (["table3", "somewhere"], 2, "table3 takes no RUN_DIR"),
        (["table3", "--weights", "ov2vss=x"], 2, "table3 takes no --weights"),
        (["table3", "--profile", "paper"], 2, "table3 takes no --profile"),
        (["table2", "--world"], 3, "no records of world-27-9-hard come with ovbench; 5 of 5 rows"),
    ):
        with pytest.raises(SystemExit) as done:
            main(["reproduce", *words])
        assert done.value.code == code and said in capsys.readouterr().err, words


def test_table_one_on_the_world_comes_from_the_packed_records(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main(["reproduce", "table1", "--world", "--format", "json"])
    table = json.loads(capsys.readouterr().out)
    measured = [line["entry"]["row"] for line in table["lines"] if line["cells"]]
    assert {"ZegFormer, ResNet-101", "DeOP, ResNet-101", "zsseg.baseline, ResNet-101", REFERENCE} <= set(
        measured
    )
    assert done.value.code == (3 if any(x["missing"] and not x["absent"] for x in table["lines"]) else 0)


def test_another_protocol_is_context_only() -> None:
    def context(table: str, world: bool) -> list[str]:
        return [n for n in build(setting(table, world), []).notes if "OV-DVIS++" in n]

    (note,) = context("table1", False)
    assert "not to be compared" in note and "ConvNeXt-L 34.3" in note and "another protocol" in note
    assert not context("table1", True) and not context("table2", False)


def test_a_transfer_is_trained_elsewhere() -> None:
    for world, trained, run in (
        (True, "world-27-9", "world-27-9-hard"),
        (False, "vspw-80-44", "cityscapes-19"),
    ):
        asked = setting("table2", world)
        assert (asked.trained.id, asked.protocol.id) == (trained, run)
        line = of(build(asked, []), REFERENCE)
        assert f"--protocol {run}" in line.command
        assert world or f"--protocol {trained}" in line.missing
    assert setting("table1", world=True).trained.id == "world-27-9"


def test_the_transfer_of_the_world_runs_from_shipped_weights() -> None:
    asked = setting("table2", world=True)
    assert {obstacle(method, asked.protocol, Means(), asked.trained) for method in asked.methods} == {None}


def test_what_a_row_was_measured_with_is_said_in_every_format(table: Reproduction) -> None:
    full = of(table, REFERENCE)
    assert full.weights == ("w0 w0w0", "w1 w1w1", "w2 w2w2") and "captions of the world" in full.trained_on
    said = (
        f"{REFERENCE}, measured with ov2vss:world; weights w0 w0w0, w1 w1w1, w2 w2w2; trained on: captions of"
    )
    for name in ("text", "md", "latex", "html"):
        assert said in " ".join(write(table, name).split()), name
    rows = {r["row"]: r for r in csv.DictReader(io.StringIO(write(table, "csv")))}
    assert rows[REFERENCE]["measured_weights"] == ", ".join(full.weights)
    assert rows[REFERENCE]["measured_trained_on"] == full.trained_on != rows[REFERENCE]["trained_on"]


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"profile": "release"}, "runs of 2 profiles of ov2vss .* cannot stand in one column"),
        ({"profile": "paper", "config": "{'width': 9}"}, "differ in the network"),
    ],
)
def test_networks_that_differ_have_no_mean(
    facts: dict[str, str], said: str, asked: Setting, tmp_path: Path
) -> None:
    for name, weights, told in (("a", "w0", {"profile": "paper"}), ("b", "w1", facts)):
        run = tmp_path / name
        make_run(run, 0.5, method="ov2vss", variant="world", weights=weights, changes={"facts": told})
    with pytest.raises(UserError, match=said):
        build(asked, [tmp_path])
    if facts["profile"] == "release":
        line = of(build(asked, [tmp_path], profile="release"), REFERENCE)
        assert line.runs == (str(tmp_path / "b"),)


def test_other_training_data_have_no_mean(asked: Setting, tmp_path: Path) -> None:
    for name in ("a", "b"):
        folder = make_run(tmp_path / name, 0.5, method="san", variant="world", weights=name)
        manifest = RunDir(folder).manifest()
        RunDir(folder).write_manifest({**manifest, "method": {**manifest["method"], "trained_on": [name]}})
    with pytest.raises(UserError, match="differ in the data that they were trained on"):
        build(asked, [tmp_path])


def test_a_run_over_other_videos_is_not_used_and_said_so(asked: Setting, tmp_path: Path) -> None:
    make_run(tmp_path / "a", 0.7, method="ov2vss", variant="world", weights="w0")
    make_run(tmp_path / "b", 0.3, method="zegformer", variant="world", weights="z")
    make_run(tmp_path / "c", 0.3, method="zegformer", variant="world", weights="y", videos=("v0", "v1"))
    make_run(tmp_path / "d", 0.3, method="deop", variant="world", weights="d", videos=("v0", "v99"))
    table = build(asked, [tmp_path])
    assert of(table, "ZegFormer, ResNet-101").runs == (str(tmp_path / "b"),)
    (note,) = [n for n in table.notes if n.startswith("Not used")]
    assert str(tmp_path / "c") in note and "without 6 videos such as 'v2'" in note
    deop = of(table, "DeOP, ResNet-101")
    assert "without 7 videos such as 'v1' and with also 1 video such as 'v99'" in deop.missing
    assert any("8 videos" in n for n in table.notes if n.startswith("Measured"))


def test_a_missing_row_is_filled_by_its_command(asked: Setting, tmp_path: Path) -> None:
    kept, own = tmp_path / "kept", tmp_path / "own"
    make_run(kept / "a", 0.7, method="ov2vss", variant="world", weights="w0")
    make_run(own / "x", 0.2, method="ov2vss", variant="world", weights="w9")
    make_run(own / "y", 0.2, method="san", variant="world", weights="s", options={"steps": 5})
    san = of(build(asked, [kept], otherwise=[own]), "SAN, ResNet-101")
    assert "options set by hand" in san.missing and "--out" not in san.command
    put = of(build(asked, [kept], into=kept), "SAN, ResNet-101").command
    assert f"--out {kept / 'san-world'}" in put
    make_run(own / "z", 0.2, method="san", variant="world", weights="s")
    table = build(asked, [kept], otherwise=[own])
    assert of(table, "SAN, ResNet-101").runs == (str(own / "z"),)
    assert of(table, REFERENCE).runs == (str(kept / "a"),), "what comes with ovbench goes first"


def test_what_cannot_be_run_says_how_to_train_it_where_it_is_trained(tmp_path: Path) -> None:
    asked = setting("table2", world=False)
    failed = run_rows(["ov2vss:resnet101"], asked.protocol.id, tmp_path, Means(), trained=asked.trained)
    assert "or train it: ovbench train" in failed["ov2vss:resnet101"]
    assert "--protocol vspw-80-44" in failed["ov2vss:resnet101"]


def test_print_leaves_commands_out(asked: Setting) -> None:
    empty = write(build(setting("table2", world=False), []), "latex")
    assert "MISSING: " in empty and "ovbench run" not in empty and "Fill it" not in empty


def test_the_remark_of_a_method_stands_with_its_measurement(asked: Setting, tmp_path: Path) -> None:
    make_run(tmp_path / "s", 0.5, method="sam-clip", variant="world", weights="s")
    said = {"facts": {"remark": "a remark of its own."}}
    make_run(tmp_path / "z", 0.5, method="zegformer", variant="world", weights="z", changes=said)
    table = build(asked, [tmp_path])
    for name in FORMATS:
        text = " ".join(write(table, name).split())
        assert "masks come from a small mask maker of our own, not from SAM." in text, name
        assert "a remark of its own." in text, name
    rows = {r["row"]: r["measured_remark"] for r in csv.DictReader(io.StringIO(write(table, "csv")))}
    assert "not from SAM" in rows["SAM + CLIP, ViT-B2"] and not rows["DeOP, ResNet-101"]


def test_the_command_for_sam_with_clip_can_work(tmp_path: Path) -> None:
    table = build(setting("table1", world=False), [tmp_path])
    line = of(table, "SAM + CLIP, ViT-B2")
    assert "ovbench train" not in line.missing
    assert line.command.endswith("--weights FILE --set clip_weights=FILE")
    zegformer = of(table, "ZegFormer, ResNet-101")
    assert "ovbench train --method zegformer" in zegformer.missing and "--set" not in zegformer.command
    sam, vspw = Path("sam.pth"), load_protocol("vspw-80-44")
    given = command("sam-clip:vit-b", vspw, Means(weights={"sam-clip": sam}))
    assert given.endswith("--weights sam.pth --set clip_weights=FILE")
    assert "--set" not in command("sam-clip:world", load_protocol("world-27-9"), Means())


def test_a_file_for_clip_is_no_option_set_by_hand(asked: Setting, tmp_path: Path) -> None:
    row = "SAM + CLIP, ViT-B2"
    given = {"clip_weights": "clip.safetensors"}
    make_run(tmp_path / "s", 0.5, method="sam-clip", variant="world", weights="s", options=given)
    assert of(build(asked, [tmp_path]), row).runs
    more = {**given, "rule": "smallest"}
    make_run(tmp_path / "s", 0.5, method="sam-clip", variant="world", weights="s", options=more)
    assert "options set by hand" in of(build(asked, [tmp_path]), row).missing
