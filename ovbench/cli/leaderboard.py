"""`ovbench reproduce world`: the leaderboard of the embedded world, from its records or made again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .stopping import all_kept

if TYPE_CHECKING:
    from ovbench.engine.world_board import Board


@dataclass(frozen=True)
class Making:
    """What of the board is shown or made (`run`), where and how; empty `rows` and `seeds`: all."""

    run: bool
    out: Path | None
    rows: tuple[str, ...]
    seeds: tuple[int, ...]
    videos: int | None
    steps: int | None
    device: str
    jobs: int | None
    threads: int

    @property
    def folder(self) -> Path:
        return self.out or Path("runs", "reproduce", "world")


def leaderboard(asked: Making, texts: tuple[Path, ...], form: str) -> None:
    """Print the leaderboard, put it into text files, and say what differs from the records that are kept.

    Raises:
        IncompleteError: rows of the board have no run.
    """
    from ovbench.core.errors import IncompleteError, UserError
    from ovbench.engine.world_board import read_board, world_room
    from ovbench.report.board import leaderboard as table
    from ovbench.report.board import missing, update

    if not asked.run and (asked.videos or asked.steps):
        raise UserError("--videos and --steps go with --run")
    if texts and (asked.run or asked.out or asked.rows or asked.seeds):
        raise UserError("--update writes the whole leaderboard from its records", hint="leave the others out")
    board = read_board().only(asked.rows, asked.seeds)
    kept = world_room() / board.protocol
    failed = _make(asked, board) if asked.run else {}
    runs = asked.folder / board.protocol if asked.run or asked.out else kept
    gone = missing(board, runs)
    if len(gone) < len(board.folders) or not failed:
        click.echo(table(board, runs, form))
    for path in texts:
        changed = update(path, table(board, runs, "md"))
        click.echo(f"{path}: {'the table is put in' if changed else 'the table is there already'}", err=True)
    if runs != kept:
        _compare(board, runs, kept)
    if gone or failed:
        reasons = {name: failed.get(name, "no finished run") for name in sorted({*gone, *failed})}
        for reason in dict.fromkeys(reasons.values()):
            names = [name for name, why in reasons.items() if why == reason]
            click.echo(f"MISSING: {', '.join(names)}: {reason}", err=True)
        raise IncompleteError(
            f"{len(reasons)} of {len(board.folders)} runs of the leaderboard are missing",
            where=runs,
            hint="the same command goes on where it stopped" if asked.run else _command(asked, board, gone),
        )


def _command(asked: Making, board: Board, gone: list[str]) -> str:
    rows = dict.fromkeys(entry.row for entry in board.entries if set(entry.folders) & set(gone))
    where = f" --out {asked.out}" if asked.out else ""
    return f"ovbench reproduce world --run{where} --rows {','.join(rows)}"


def _make(asked: Making, board: Board) -> dict[str, str]:
    from ovbench.engine.world_run import BoardRequest, make_board

    request = BoardRequest(
        board, asked.folder, asked.videos, asked.steps, asked.device, asked.jobs, asked.threads
    )
    with all_kept():
        return make_board(request)


def _compare(board: Board, runs: Path, kept: Path) -> None:
    """Say on stderr what differs from the kept records."""
    from ovbench.report.board import against_kept, missing

    shared = set(board.folders).difference(missing(board, runs), missing(board, kept))
    found = list(against_kept(board, runs, kept))
    for difference in found:
        click.echo(f"differs from the kept records: {difference}", err=True)
    same = len(shared) - len(found)
    click.echo(f"{same} of {len(shared)} runs count as the kept records do", err=True)
