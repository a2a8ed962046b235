"""Tables: who may stand beside whom, in which order, with which footnotes."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import run_cases
from click.testing import CliRunner
from run_cases import PROTOCOL, VIDEOS, make_run, own_protocol

from ovbench.cli.main import main
from ovbench.core.errors import IncompleteError, IntegrityError, UserError
from ovbench.core.paths import room
from ovbench.metrics.groups import scored_groups
from ovbench.metrics.sample import score_names
from ovbench.protocol.load import load_protocol
from ovbench.report.columns import columns_for
from ovbench.report.model import Cell
from ovbench.report.table import render
from ovbench.store.rundir import RunDir


def tables(folders, **options):
    return json.loads(render(folders, format="json", **options))["tables"]


def by_name(table):
    return {row["name"]: row for row in table["rows"]}


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    """A clear winner, two that cannot be told apart, a control row better than all."""
    tmp_path = tmp_path_factory.mktemp("board")
    return [
        make_run(tmp_path / "good", 0.9, variant="good"),
        make_run(tmp_path / "twin1", 0.5, variant="twin1", seed=1),
        make_run(tmp_path / "twin2", 0.5, variant="twin2", seed=2),
        make_run(tmp_path / "weak", 0.2, variant="weak"),
        make_run(tmp_path / "oracle", 0.99, method="oracle-grid", kind="control"),
        make_run(tmp_path / "raw", 0.05, method="ov2vss", variant="world", untrained=True),
    ]


def test_rows_are_sorted_by_the_headline_and_only_methods_are_ranked(board):
    (table,) = tables(board)
    assert table["headline"] == "harmonic.miou"
    values = [row["cells"]["harmonic.miou"]["value"] for row in table["rows"]]
    assert values == sorted(values, reverse=True)
    rows = by_name(table)
    assert table["rows"][0]["name"] == "oracle-grid" and rows["oracle-grid"]["rank"] is None
    assert rows["oracle-grid"]["marks"] == ["control"] and rows["ov2vss:world"]["marks"] == ["untrained"]
    assert rows["ov2vss:world"]["rank"] is None
    assert rows["maskclip:good"]["rank"] == 1
    twins = [rows["maskclip:twin1"], rows["maskclip:twin2"]]
    assert [t["rank"] for t in twins] == [2, 2] and all(t["tied"] for t in twins)
    assert not rows["maskclip:good"]["tied"] and not rows["maskclip:weak"]["tied"]
    text = " ".join(render(board).split())
    assert text.count(" 2= maskclip:twin") == 2 and "shares its rank with a neighbouring row" in text
    assert [r["tied"] for r in csv.DictReader(io.StringIO(render(board, format="csv")))].count("=") == 2
    assert rows["maskclip:weak"]["rank"] == 4


def test_values_are_those_of_the_summaries(board):
    rows = by_name(tables(board)[0])
    for folder in board:
        summary = RunDir(folder).summary()
        name = summary["method"]["id"] + (
            f":{summary['method']['variant']}" if summary["method"]["variant"] else ""
        )
        cells = rows[name]["cells"]
        for group in ("all", "seen", "unseen", "harmonic"):
            for metric, value in summary["scores"][group].items():
                assert cells[f"{group}.{metric}"].get("value") == value
        assert cells["seen_bias"]["value"] == summary["scores"]["seen_bias"]
        low, high = summary["intervals"]["scores"]["unseen"]["miou"]
        assert (cells["unseen.miou"]["low"], cells["unseen.miou"]["high"]) == (low, high)


def test_every_number_has_its_identity_beside_it(board):
    protocol = load_protocol(PROTOCOL)
    text = render(board)
    for needed in (
        f"{PROTOCOL} v{protocol.version}",
        protocol.hash[:12],
        "gt-present",
        "8 videos",
        "32 annotated",
    ):
        assert needed in " ".join(text.split())
    assert "(control) control row" in text and "(untrained) untrained" in text
    assert "Synthetic world" not in text


def test_the_world_is_called_synthetic(tmp_path):
    run = make_run(tmp_path / "a", 0.5, changes={"data": {"dataset": "world"}})
    assert "Synthetic world" in render([run])


def test_order_of_the_folders_does_not_matter(board):
    assert render(board) == render(board[::-1])


def test_partial_runs_are_left_out_unless_asked(board, tmp_path):
    part = make_run(tmp_path / "part", 0.7, variant="part", videos=VIDEOS[:3], partial="first 3 of 8 videos")
    (table,) = tables([*board, part])
    assert "maskclip:part" not in by_name(table)
    assert any("1 partial run" in n for n in table["notes"])
    whole, limited = tables([*board, part], partial=True)
    assert "maskclip:part" not in by_name(whole) and list(by_name(limited)) == ["maskclip:part"]
    assert limited["partial"] == "first 3 of 8 videos"
    assert any("PARTIAL" in n for n in limited["notes"])
    with pytest.raises(UserError, match="the run is partial"):
        render([part])


@pytest.mark.parametrize("verb", ["table", "report"])
def test_partial_runs_by_name_get_the_whole_command(verb, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("a b", "c"):
        make_run(Path(name), 0.7, variant=name[0], videos=VIDEOS[:3], partial="first 3 of 8 videos")
    more = ["--profile", "release", "--mean-seeds"]
    with pytest.raises(SystemExit) as done:
        main([verb, "a b", "c", *more])
    said = capsys.readouterr().err
    assert done.value.code == 2 and "all 2 runs are partial" in said
    (command,) = (line.partition("next:")[2] for line in said.splitlines() if "next:" in line)
    words = shlex.split(command.partition("   shows")[0])
    assert words[:4] == ["ovbench", verb, "a b", "c"] and sorted(words[4:]) == sorted([*more, "--partial"])


def test_two_versions_of_a_protocol_are_refused(tmp_path):
    ours = load_protocol(PROTOCOL)
    other = dataclasses.replace(ours, version=9, hash="f" * 64)
    runs = [make_run(tmp_path / "a", 0.5), make_run(tmp_path / "b", 0.5, protocol=other)]
    with pytest.raises(UserError, match="two different versions") as caught:
        render(runs)
    assert "ffffffffffff" in str(caught.value) and str(tmp_path / "b") in str(caught.value)


def test_a_foreign_version_alone_is_shown_without_tests(tmp_path):
    other = dataclasses.replace(load_protocol(PROTOCOL), hash="f" * 64)
    runs = [make_run(tmp_path / n, r, variant=n, protocol=other) for n, r in (("a", 0.5), ("b", 0.6))]
    (table,) = tables(runs)
    assert [(r["name"], r["rank"]) for r in table["rows"]] == [("maskclip:b", 1), ("maskclip:a", 2)]
    assert any("were not tested" in n for n in table["notes"])


def test_a_users_own_protocol_file_allows_the_tests(tmp_path):
    path = own_protocol(tmp_path)
    mine = load_protocol(str(path))
    runs = [make_run(tmp_path / n, 0.5, variant=n, seed=i, protocol=mine) for i, n in enumerate("ab")]
    with pytest.raises(UserError, match="unknown protocol 'mine'") as caught:
        render(runs, convention="all")
    assert str(runs[0]) in str(caught.value) and "--protocol FILE.toml" in str(caught.value)
    assert any("were not tested" in n for n in tables(runs)[0]["notes"])
    runs.append(make_run(tmp_path / "c", 0.5))
    (there,) = tables(runs, convention="all")
    assert any("Left out: 2 runs of protocol 'mine'" in n and "--protocol FILE" in n for n in there["notes"])
    (table,) = tables(runs, protocol=str(path))
    assert table["protocol"]["id"] == "mine" and table["protocol"]["version"] == 77
    assert [r["rank"] for r in table["rows"]] == [1, 1]


def test_whole_runs_over_different_videos_are_refused(tmp_path):
    runs = [make_run(tmp_path / "a", 0.5), make_run(tmp_path / "b", 0.5, videos=VIDEOS[:5])]
    with pytest.raises(UserError, match="different videos .*first: 'v5'"):
        render(runs)


def test_each_protocol_gets_its_own_table(tmp_path):
    runs = [make_run(tmp_path / "a", 0.5)]
    own = dataclasses.replace(load_protocol(PROTOCOL), id="other-protocol", hash="e" * 64)
    runs.append(make_run(tmp_path / "b", 0.5, protocol=own))
    assert [t["protocol"]["id"] for t in tables(runs)] == [PROTOCOL, "other-protocol"]
    (only,) = tables(runs, protocol="other-protocol")
    assert only["protocol"]["id"] == "other-protocol"
    with pytest.raises(UserError, match="no run is of protocol 'nope'"):
        render(runs, protocol="nope")


def test_missing_methods_are_gaps(board):
    (table,) = tables(board, expect=["san", "maskclip"])
    last = table["rows"][-1]
    assert (last["name"], last["note"], last["cells"]) == ("san", "no run", {})
    assert any("san: no run" in n for n in table["notes"])
    assert "maskclip" not in by_name(table)  # some variant of it is there


def test_seeds_can_be_merged(tmp_path):
    shares = (0.5, 0.55, 0.6)
    runs = [
        make_run(tmp_path / f"s{i}", share, variant="world", weights=f"seed{i}", seed=i)
        for i, share in enumerate(shares)
    ]
    runs.append(make_run(tmp_path / "again", 0.1, variant="world", weights="seed0"))
    runs.append(make_run(tmp_path / "else", 0.3, method="random", kind="control"))
    assert len(tables(runs)[0]["rows"]) == 5
    (table,) = tables(runs, mean_seeds=True)
    row = by_name(table)["maskclip:world"]
    assert row["seeds"] == 3 and len(row["runs"]) == 3
    values = [RunDir(r).summary()["scores"]["unseen"]["miou"] for r in runs[:3]]
    cell = row["cells"]["unseen.miou"]
    assert cell["value"] == pytest.approx(np.mean(values))
    assert cell["sd"] == pytest.approx(np.std(values, ddof=1))
    assert cell["low"] < cell["value"] < cell["high"]
    assert sum(r["seeds"] for r in table["rows"]) == 5  # the same weights twice stay apart
    assert f"{np.mean(values):.1f} ± {np.std(values, ddof=1):.1f} (3)" in render(runs, mean_seeds=True)


def test_rows_that_differ_have_different_names(tmp_path):
    runs = [
        make_run(tmp_path / "plain", 0.5),
        make_run(tmp_path / "off", 0.5, options={"temporal": False}),
        make_run(tmp_path / "w0", 0.5, weights="w0"),
        make_run(tmp_path / "w0-again", 0.5, weights="w0"),
    ]
    names = [row["name"] for row in tables(runs)[0]["rows"]]
    assert len(set(names)) == 4
    assert "maskclip (temporal=off)" in names
    assert "maskclip [w0] [w0-again]" in names


def test_hashes_in_names_are_short():
    from ovbench.report.names import method_name

    facts = {"id": "predictions", "variant": "", "source": f"maps.npz sha256:{'0123456789abcdef' * 4}"}
    assert method_name(facts) == "predictions (maps.npz sha256:0123456789)"


def test_a_run_is_also_named_by_its_summary(board, tmp_path):
    assert render([board[0] / "summary.json"]) == render([board[0]])
    with pytest.raises(UserError, match="no such file or folder"):
        render([tmp_path / "nothing"])


def test_few_videos_are_pointed_out(board, tmp_path):
    few = make_run(tmp_path / "few", 0.5, videos=VIDEOS[:3])
    assert "Only 3 videos: with fewer than 8" in render([few])
    assert "with fewer than 8" not in render(board[:1])


def test_wrappers_keep_the_notation_of_the_command_line(tmp_path):
    run = make_run(tmp_path / "a", 0.5, method="ov2vss+vote", variant="image")
    assert list(by_name(tables([run])[0])) == ["ov2vss:image+vote"]


def test_runs_are_found_below_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="no runs were found"):
        render([])
    make_run(tmp_path / "runs" / PROTOCOL / "a" / "k1", 0.5, variant="a")
    make_run(tmp_path / "runs" / PROTOCOL / "b" / "k2", 0.6, variant="b", unfinished=True)
    rows = by_name(tables([])[0])
    assert rows["maskclip:a"]["rank"] == 1
    assert rows["maskclip:b"]["note"] == "not finished" and rows["maskclip:b"]["cells"] == {}


def test_folders_that_are_no_finished_runs(tmp_path):
    with pytest.raises(UserError, match="not the folder of a run"):
        render([tmp_path])
    run = make_run(tmp_path / "a", 0.5, unfinished=True)
    with pytest.raises(IncompleteError, match="not finished"):
        render([run])
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "manifest.json").write_text("{}")
    with pytest.raises(IntegrityError, match="lacks protocol, method, videos"):
        render([tmp_path / "b"])


def test_csv_can_be_read_back(board):
    rows = list(csv.DictReader(io.StringIO(render(board, format="csv", columns="all"))))
    assert rows[-1]["marks"] == "reference"  # a constant prediction, beside the label-free columns
    assert len(rows) == len(board) + 1
    assert {r["protocol"] for r in rows} == {PROTOCOL} and {r["videos"] for r in rows} == {"8"}
    assert {(r["frames"], r["annotated_frames"]) for r in rows} == {("32", "32")}
    assert {(r["present.unseen"], r["scored.unseen"], r["scored.all"]) for r in rows} == {("3", "3", "11")}
    good = next(r for r in rows if r["method"] == "maskclip:good")
    summary = RunDir(board[0]).summary()
    assert float(good["unseen.miou"]) == pytest.approx(summary["scores"]["unseen"]["miou"], abs=1e-3)
    assert float(good["unseen.miou.low"]) < float(good["unseen.miou"]) < float(good["unseen.miou.high"])


def test_markdown_is_a_table_with_equal_columns(tmp_path):
    lines = render([make_run(tmp_path / "a", 0.5, options={"a": "x|y"})], format="md").splitlines()
    pipes = [line.replace("\\|", "").count("|") for line in lines if line.startswith("|")]
    assert len(pipes) == 3 and len(set(pipes)) == 1


def test_latex_is_escaped(tmp_path):
    text = render([make_run(tmp_path / "a", 0.5, options={"a_b": "50%#"})], format="latex")
    assert "maskclip (a\\_b=50\\%\\#)" in text
    assert all(f"\\{rule}rule" in text for rule in ("top", "mid", "bottom"))
    body = text[text.index("\\midrule") : text.index("\\bottomrule")]
    columns = text[text.index("{tabular}{") + 10 :].partition("}")[0]
    assert body.count("&") == len(columns) - 1


def empty(keys):
    return {k: Cell(1.0 if k.startswith(("all", "seen.")) else None) for k in keys}


@pytest.mark.parametrize("choice", ["default", "all"])
def test_columns_without_a_value_stay_where_the_protocol_calls_for_them(choice):
    def keys(name, headline):
        protocol = load_protocol(name)
        counts = {"scored_classes": {g: len(m) for g, m in scored_groups(protocol).items()}}
        rows = [empty(score_names(protocol))]
        return {c.key for c in columns_for(headline, counts, rows, choice, protocol)}

    generalised = keys(PROTOCOL, "harmonic.miou")
    assert {"harmonic.miou", "unseen.miou", "seen.miou", "seen_bias", "vc8.correct"} <= generalised
    conventional = keys("vspw-80-44", "unseen.miou")
    assert {"unseen.miou", "vc8.correct", "vc16.correct"} <= conventional
    assert not {"seen.miou", "seen_bias", "harmonic.miou"} & conventional
    assert not [k for k in keys("cityscapes-19", "unseen.miou") if k.startswith("vc")]


def test_an_undefined_column_prints_a_gap(tmp_path, monkeypatch):
    """Truth without any unseen class."""
    classes = load_protocol(PROTOCOL).classes
    unseen = [i for i, c in enumerate(classes) if not c.seen]
    whole = run_cases.truth_of

    def truth_of(video, **options):
        return [np.where(np.isin(t, unseen), 11, t).astype(np.uint8) for t in whole(video, **options)]

    monkeypatch.setattr(run_cases, "truth_of", truth_of)
    run = make_run(tmp_path / "a", 0.5)
    head, _, row = [line for line in render([run], format="md").splitlines() if line.startswith("|")]
    cells = dict(zip(*([c.strip() for c in line.split("|")] for line in (head, row)), strict=True))
    assert cells["unseen mIoU"] == cells["seen bias"] == cells["harmonic mIoU"] == "-"


def test_a_table_of_gaps_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "runs" / "a", 0.5, unfinished=True)
    (table,) = tables([])
    assert [(r["name"], r["note"]) for r in table["rows"]] == [("maskclip", "not finished")]
    for format in ("text", "csv", "latex"):
        assert "maskclip" in render([], format=format)


def test_unknown_format_and_columns(board):
    with pytest.raises(UserError, match="unknown format 'mdd'"):
        render(board, format="mdd")
    with pytest.raises(UserError, match="unknown choice of columns"):
        render(board, columns="some")


def test_the_verb(board, capsys):
    with pytest.raises(SystemExit) as done:
        main(["table", *map(str, board), "--format", "md"])
    assert done.value.code == 0
    assert "maskclip:good" in capsys.readouterr().out
    with pytest.raises(SystemExit) as failed:
        main(["table", str(board[0] / "records")])
    assert failed.value.code == 2
    assert "not the folder of a run" in capsys.readouterr().err
    with pytest.raises(SystemExit) as done:
        main(["table", str(board[0].parent), "--format", "md"])
    assert done.value.code == 0
    assert "maskclip:good" in capsys.readouterr().out


def test_help_names_all_options():
    from ovbench.cli.table import command

    text = CliRunner().invoke(command, ["--help"]).output
    for option in ("--protocol", "--format", "--columns", "--partial", "--mean-seeds", "--expect"):
        assert option in text


def test_profiles_of_one_method_never_stand_in_one_column(tmp_path, capsys):
    runs = [
        make_run(tmp_path / name, right, method=method, variant=name, options={"profile": profile})
        for name, right, method, profile in (
            ("release", 0.6, "ov2vss", "release"),
            ("sam-vit-b", 0.7, "ov2vss+vote", "paper"),
        )
    ]
    runs.append(make_run(tmp_path / "other", 0.5))
    for options in ({}, {"mean_seeds": True}, {"convention": "all"}):
        with pytest.raises(UserError, match="2 profiles of ov2vss .*cannot stand in one column") as caught:
            render(runs, **options)
        assert "--profile paper or --profile release" in (caught.value.hint or "")
    for alone in (runs[:1] + runs[2:], runs[1:]):
        assert len(tables(alone)[0]["rows"]) == 2
    (release,) = tables(runs, profile="release")
    assert {row["name"].partition(" ")[0] for row in release["rows"]} == {"ov2vss:release", "maskclip"}
    with pytest.raises(UserError, match="no run is of profile 'old'"):
        render(runs, profile="old")
    with pytest.raises(SystemExit) as done:
        main(["table", *map(str, runs)])
    assert done.value.code == 2 and "--profile paper" in capsys.readouterr().err


def test_a_kept_run_is_remarked_upon_by_its_card():
    folders = sorted((room("results") / "world/world-27-9").glob("sam-clip*-seed0"))
    if not folders:
        pytest.skip("no kept runs of sam-clip")
    notes = tables(folders)[0]["notes"]
    assert sum("not from SAM" in note for note in notes) == 1
