"""`ovbench explain` and `ovbench table --convention` from the command line: output and exit codes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from ovbench.cli.main import main

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "report"))
from explain_cases import tiny_protocol, tiny_run


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    protocol = tiny_protocol(folder)
    return str(tiny_run(folder / "run", protocol)), str(protocol)


def call(capsys, *argv):
    with pytest.raises(SystemExit) as end:
        main(list(argv))
    shown = capsys.readouterr()
    return end.value.code, shown.out, shown.err


@pytest.mark.parametrize("form", ["text", "md", "json"])
def test_explain_prints(tiny, capsys, form):
    run, protocol = tiny
    code, out, _ = call(capsys, "explain", f"{run}/summary.json", "--protocol", protocol, "--format", form)
    assert code == 0 and "gt-present" in out
    if form == "json":
        assert json.loads(out)["scores"]["groups"]["unseen"]["miou"]["value"] == 62.5


def test_explain_a_class_under_a_convention(tiny, capsys):
    run, protocol = tiny
    code, out, _ = call(
        capsys,
        "explain",
        run,
        "--class",
        "road",
        "--convention",
        "gt-present+abstain-shrinks",
        "--protocol",
        protocol,
    )
    assert code == 0 and "IoU 76.92 = TP / (TP + FP + FN) = 10 / 13" in out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--class", "rod"], "did you mean road"),
        (["--convention", "gt"], "unknown convention 'gt'"),
        (["--format", "csv"], "csv"),
    ],
)
def test_mistakes_end_with_code_2(tiny, capsys, options, words):
    run, protocol = tiny
    code, _, err = call(capsys, "explain", run, "--protocol", protocol, *options)
    assert code == 2 and words in err and "Traceback" not in err


def test_codes_of_damaged_and_unfinished_runs(tmp_path, capsys):
    protocol = tiny_protocol(tmp_path)
    run = tiny_run(tmp_path / "run", protocol)
    (run / "records" / "a.json").write_text("{}")
    assert call(capsys, "explain", str(run), "--protocol", str(protocol))[0] == 4
    (run / "summary.json").unlink()
    assert call(capsys, "explain", str(run), "--protocol", str(protocol))[0] == 3
    assert call(capsys, "explain", str(tmp_path / "nothing"))[0] == 2


def test_a_folder_of_runs_and_conventions_in_a_list(tiny, capsys):
    run, protocol = tiny
    code, _, err = call(capsys, "explain", str(Path(run).parent))
    assert code == 2 and "holds runs" in err and run in err
    code, _, err = call(capsys, "explain", run, "--protocol", protocol, "--convention", "all")
    assert code == 2 and "takes one id" in err
    code, out, _ = call(capsys, "explain", run)
    assert code == 0 and "--protocol FILE.toml" in " ".join(out.split())


def test_records_of_another_version_are_not_called_damaged(tmp_path, capsys):
    protocol = tiny_protocol(tmp_path)
    run = tiny_run(tmp_path / "run", protocol)
    path = run / "records" / "a.json"
    record = json.loads(path.read_text())
    del record["counts"]["per_frame"]
    path.write_text(json.dumps(record))
    code, _, err = call(capsys, "explain", str(run), "--protocol", str(protocol))
    told = " ".join(err.split())
    assert code == 4 and "another version of ovbench" in told and "makes it again" in told
    assert "damaged" not in told and "delete" not in told


def test_explain_says_what_the_rates_are_over(tiny, capsys):
    run, protocol = tiny
    _, out, _ = call(capsys, "explain", run, "--protocol", protocol)
    text = " ".join(out.split())
    assert "WARNING: 2 videos only" in text and "at most 16 files count for nothing" in text
    _, out, _ = call(capsys, "explain", run, "--protocol", protocol, "--format", "json")
    temporal = json.loads(out)["temporal"]
    both = temporal["scored_changes"]
    assert both["prediction"] - both["truth"] == pytest.approx(temporal["flicker"]["excess_change"])
    assert f"= {both['prediction']:.2f} (prediction) - {both['truth']:.2f} (truth)" in text


def test_table_convention_from_the_command_line(tiny, capsys):
    run, protocol = tiny
    code, out, _ = call(capsys, "table", run, "--protocol", protocol, "--convention", "all")
    assert code == 0 and "+abstain" in out and "gt-present" in out
    code, out, _ = call(capsys, "table", run, "--protocol", protocol, "--convention", "union-present")
    assert code == 0 and "convention union-present" in out
    code, _, err = call(capsys, "table", run, "--protocol", protocol, "--convention", "union")
    assert code == 2 and "unknown convention" in err
