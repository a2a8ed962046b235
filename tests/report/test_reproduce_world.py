"""The leaderboard that is kept: its rows, its text in READMEs, and that it can be made again, killed or not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ovbench.cli.main import main
from ovbench.core.errors import UserError
from ovbench.core.paths import room
from ovbench.engine.world_board import Entry, read_board, world_room
from ovbench.engine.world_run import BoardRequest, make_board
from ovbench.methods.registry import card
from ovbench.methods.select import select, shipped_weights
from ovbench.protocol.load import load_protocol
from ovbench.report.board import MARK, against_kept, between_marks, leaderboard, missing, update
from ovbench.report.table import render
from ovbench.store.rundir import RunDir

BOARD = read_board()
KEPT = world_room() / BOARD.protocol
CHECKOUT = Path(__file__).resolve().parents[2]


def test_every_kept_run_is_on_the_board() -> None:
    assert {path.name for path in KEPT.iterdir()} <= set(BOARD.folders)


def test_every_run_of_the_board_is_kept() -> None:
    if gaps := missing(BOARD, KEPT):
        pytest.skip(f"not kept yet: {', '.join(gaps)}")


@pytest.mark.parametrize("entry", BOARD.entries, ids=[entry.name for entry in BOARD.entries])
def test_rows_are_methods(entry: Entry) -> None:
    protocol = load_protocol(BOARD.protocol)
    for twin in ("", *entry.twins):
        method = entry.method + (f"+{twin}" if twin else "")
        chosen = select(method, given=entry.settings, untrained=None, protocol=protocol)
        assert chosen.variant == entry.variant
    if entry.seed is None:  # runs by itself, hence with weights that come with it
        assert not chosen.untrained
    else:
        shipped = shipped_weights(card(entry.base), entry.variant, protocol, f"seed{entry.seed}")
        assert shipped is not None or card(entry.base).trainer


@pytest.mark.parametrize("entry", BOARD.entries, ids=[entry.name for entry in BOARD.entries])
def test_kept_runs_are_what_the_board_says(entry: Entry) -> None:
    protocol, found = load_protocol(BOARD.protocol), set()
    for twin in ("", *entry.twins):
        if entry.folder(twin) in missing(BOARD, KEPT):
            continue
        manifest = RunDir(KEPT / entry.folder(twin)).manifest()
        method, weights = manifest["method"], manifest["weights"]
        assert method["id"] == entry.base + (f"+{twin}" if twin else "")
        assert method["variant"] == entry.variant
        assert manifest["options"]["given"].keys() == entry.settings.keys()
        found.add(weights["sha256"])
        shipped = shipped_weights(card(entry.base), entry.variant, protocol, f"seed{entry.seed}")
        assert weights["shipped"] == (shipped is not None or entry.seed is None and bool(weights["sha256"]))
    assert len(found) <= 1, "a twin stands beside the method with the same weights"


def test_seeds_have_weights_of_their_own() -> None:
    gone = missing(BOARD, KEPT)
    for row in {entry.row for entry in BOARD.entries if entry.seed is not None}:
        names = [e.name for e in BOARD.entries if e.row == row and e.name not in gone]
        weights = [RunDir(KEPT / name).manifest()["weights"]["sha256"] for name in names]
        assert len(set(weights)) == len(weights), row


@pytest.fixture(scope="module")
def table() -> str:
    return leaderboard(BOARD, KEPT, "md")


@pytest.mark.parametrize("name", ["results/README.md", "README.md"])
def test_the_printed_table_is_what_the_records_give(name: str, table: str) -> None:
    path = room("results") / "README.md" if name == "results/README.md" else CHECKOUT / name
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if f"<!-- {MARK} -->" not in text and name == "README.md":
        pytest.skip(f"{name} does not show the table")
    assert between_marks(text, path) == table.strip(), f"ovbench reproduce world --update {name}"


def test_it_is_the_table_of_the_folder(table: str) -> None:
    assert table == render([KEPT], BOARD.protocol, "md", mean_seeds=True)


def test_update_writes_between_the_marks_only(tmp_path: Path, table: str) -> None:
    path = tmp_path / "text.md"
    path.write_text("before\n")
    with pytest.raises(UserError, match="does not say where"):
        update(path, table)
    path.write_text(f"before\n<!-- {MARK} -->\nanother table\n<!-- /{MARK} -->\nafter \\1\n")
    assert update(path, table) and not update(path, table)
    text = path.read_text()
    assert (
        text.startswith("before\n<!--") and text.endswith("-->\nafter \\1\n") and "another table" not in text
    )
    assert between_marks(text, path) == table.strip()


def test_parts_of_the_board() -> None:
    part = BOARD.only(["random", "zegformer"], [1])
    assert part.folders == ["random", "zegformer+flow-seed1", "zegformer+vote-seed1", "zegformer-seed1"]
    with pytest.raises(UserError, match="unknown row 'zegfromer'"):
        BOARD.only(["zegfromer"])
    with pytest.raises(UserError, match="unknown seed '3'"):
        BOARD.only(seeds=[3])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("protocol = 3", "has a protocol and"),
        ("protocol = 'p'\n[[rows]]\nname = 'a'\nmethod = 'm'", "lacks folder"),
        (
            "protocol = 'p'\n[[rows]]\nname = 'a'\nmethod = 'm'\nfolder = 'a'\nseeds = [0, 1]",
            "would lie in 'a'",
        ),
        ("protocol = 'p'\n[[rows]]\nname = 'a'\nmethod = 'm'\nfolder = '../a'", "cannot be used as a file"),
        ("protocol = 'p'\n[[rows]]\nnam = 'a'", "unknown key 'nam'"),
        ("protocol = 'p'\n[[rows]]\nname='a'\nmethod='m'\nfolder='a{twin}'\ntwins=['vot']", "wrapper 'vot'"),
        ("protocol = [", "cannot be read"),
    ],
)
def test_a_bad_board_is_refused(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "board.toml"
    path.write_text(text)
    with pytest.raises(UserError, match=said):
        read_board(path)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--videos", "1"], "go with --run"),
        (["--rows", "sann"], "unknown row 'sann'"),
        (["--seeds", "a"], "--seeds wants numbers"),
        (["--weights", "san=x"], "takes no --weights"),
        (["--rows", "random", "--update", "x"], "whole leaderboard"),
        (["--out", "nowhere"], "no run of the leaderboard here"),
    ],
)
def test_refusals(
    words: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as done:
        main(["reproduce", "world", *words])
    assert done.value.code == 2 and said in capsys.readouterr().err


TINY = """
protocol = "world-27-9"
[[rows]]
name = "constant"
method = "constant"
folder = "constant"
[[rows]]
name = "random"
method = "random"
folder = "random{twin}"
twins = ["vote", "flow"]
"""
MAKE = """
import sys
from pathlib import Path
from ovbench.engine.world_board import read_board
from ovbench.engine.world_run import BoardRequest, make_board
make_board(BoardRequest(read_board(Path(sys.argv[1])), Path(sys.argv[2]), videos=4, jobs=1))
"""


def test_killed_and_given_again_it_ends_the_same(tmp_path: Path) -> None:
    (file := tmp_path / "board.toml").write_text(TINY)
    board, whole, killed = read_board(file), tmp_path / "whole", tmp_path / "killed"
    process = subprocess.Popen([sys.executable, "-c", MAKE, file, killed], stderr=subprocess.DEVNULL)
    records = killed / "saved" / "random" / "records"
    while process.poll() is None and not any(records.glob("test-*.json")):
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    before = {path: path.stat().st_mtime_ns for path in records.glob("test-*.json")}
    assert len(missing(board, killed / BOARD.protocol)) == 3, "it was killed in the middle"
    for out in (killed, whole):
        assert make_board(BoardRequest(board, out, videos=4, jobs=1)) == {}
    assert before and all(path.stat().st_mtime_ns == at for path, at in before.items()), (
        "finished videos stay"
    )
    for name in board.folders:
        one, other = (
            RunDir(out / BOARD.protocol / name).summary_path.read_bytes() for out in (killed, whole)
        )
        assert one == other, name
        assert not (killed / BOARD.protocol / name / "predictions").exists()


def test_the_command_makes_a_part_and_says_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["reproduce", "world", "--out", str(tmp_path), "--rows", "random,constant"]
    with pytest.raises(SystemExit) as done:
        main([*words, "--run", "--videos", "1", "--jobs", "1"])
    said = capsys.readouterr()
    assert done.value.code == 0 and "PARTIAL: first 1 of 36 videos" in said.out
    assert "2 of 2 runs count as the kept records do" in said.err
    RunDir(tmp_path / BOARD.protocol / "random").summary_path.unlink()
    with pytest.raises(SystemExit) as done:
        main(words)
    said = capsys.readouterr()
    assert done.value.code == 3 and "MISSING: random: no finished run" in said.err and "constant" in said.out


def test_what_is_trained_is_run_and_differs_from_the_kept(tmp_path: Path) -> None:
    part, said = BOARD.only(["zegformer"], [1]), []
    asked = BoardRequest(part, tmp_path, videos=1, steps=2, jobs=1)
    assert make_board(asked, said.append) == {}
    assert said[0].endswith("1 of them are trained here") and "zegformer-seed1: trained" in said
    weights = tmp_path / "train" / "zegformer-seed1" / "weights.safetensors"
    made = weights.stat().st_mtime_ns
    assert make_board(asked) == {} and weights.stat().st_mtime_ns == made
    found = {difference.folder: difference for difference in against_kept(part, asked.runs, KEPT)}
    plain = found["zegformer-seed1"]
    assert (plain.videos, plain.differing) == (1, 1) and plain.kept is not None and plain.kept > 30
    assert "counts differ in 1 of 1 videos; harmonic.miou" in str(plain)
    assert "1 video" in leaderboard(part, asked.runs, "text")
    other = make_board(BoardRequest(part, tmp_path, videos=1, steps=3, jobs=1))
    assert "other steps" in other["zegformer-seed1"] and set(other) == set(part.folders)
