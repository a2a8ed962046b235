"""The leaderboard that is kept in results/world, from its records or from runs made again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ovbench.core.errors import UserError
from ovbench.engine.records import CountedVideo, read_records
from ovbench.engine.world_board import Board
from ovbench.metrics.sample import run_sample
from ovbench.protocol.load import load_protocol
from ovbench.protocol.schema import Protocol
from ovbench.store.atomic import write_text
from ovbench.store.rundir import RunDir

from .table import render

MARK = "world-table"
"""What the comments around the table in a text file say: `<!-- world-table -->` and `<!-- /world-table -->`."""

_BETWEEN = re.compile(rf"(?s)(<!-- {MARK} -->\n).*?(<!-- /{MARK} -->)")


@dataclass(frozen=True)
class Difference:
    """A run made again that is not what is kept: in how many of its videos, and what that makes of the headline.

    `score` is the name of the headline score; `kept` and `made` are its values over the videos that both have.
    """

    folder: str
    videos: int
    differing: int
    score: str
    kept: float | None
    made: float | None

    def __str__(self) -> str:
        here, there = ("-" if x is None else f"{x:.2f}" for x in (self.made, self.kept))
        return (
            f"{self.folder}: counts differ in {self.differing} of {self.videos} videos; "
            f"{self.score} {here}, kept {there}"
        )


def missing(board: Board, runs: Path) -> list[str]:
    """Folders of the board that hold no finished run."""
    return [name for name in board.folders if not RunDir(runs / name).summary_path.is_file()]


def leaderboard(board: Board, runs: Path, form: str) -> str:
    """The table of the board's runs below `runs`, seeds in one row, as `ovbench table RUNS --mean-seeds` prints it.

    Raises:
        UserError: there is none of them, or an unknown format.
        IntegrityError: a summary is not what its records give.
    """
    gone = set(missing(board, runs))
    there = [runs / name for name in board.folders if name not in gone]
    if not there:
        raise UserError("there is no run of the leaderboard here", where=runs)
    return render(there, board.protocol, form, mean_seeds=True, partial=True)


def against_kept(board: Board, runs: Path, kept: Path) -> Iterator[Difference]:
    """Runs below `runs` whose counts are not those of the run of the same name below `kept`.

    Only videos that both have are looked at; runs that only one side has are passed over.
    """
    protocol = load_protocol(board.protocol)
    gone = {*missing(board, runs), *missing(board, kept)}
    for name in board.folders:
        if name not in gone:
            found = _difference(name, _counted(runs / name), _counted(kept / name), protocol)
            if found.differing:
                yield found


def _counted(run: Path) -> dict[str, CountedVideo]:
    return {video.video_id: video for video in read_records(RunDir(run))}


def _difference(
    name: str, made: dict[str, CountedVideo], kept: dict[str, CountedVideo], protocol: Protocol
) -> Difference:
    both = [video for video in kept if video in made]
    differing = sum(made[v].counts.to_json() != kept[v].counts.to_json() for v in both)
    score = f"{protocol.headline_group}.miou"
    here, there = (
        run_sample(protocol, [side[v] for v in both]).point()[score] if both else None
        for side in (made, kept)
    )
    return Difference(name, len(both), differing, score, there, here)


def between_marks(text: str, where: Path) -> str:
    """What stands between the marks of a file; raises `UserError` where it has none."""
    return _found(text, where).group(0).partition("\n")[2].rpartition("<!--")[0].strip()


def update(path: Path, table: str) -> bool:
    """Put a markdown table between the marks of a text file; whether that changed it.

    Raises:
        UserError: the file cannot be read, or has no such marks.
    """
    try:
        old = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the file cannot be read: {error}", where=path) from None
    found = _found(old, path)
    new = f"{old[: found.start()]}{found.group(1)}\n{table.strip()}\n\n{found.group(2)}{old[found.end() :]}"
    if new != old:
        write_text(path, new)
    return new != old


def _found(text: str, where: Path) -> re.Match[str]:
    found = _BETWEEN.search(text)
    if found is None:
        raise UserError(
            "this file does not say where the table goes",
            where=where,
            hint=f"put the lines '<!-- {MARK} -->' and '<!-- /{MARK} -->' into it",
        )
    return found
