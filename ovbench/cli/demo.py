"""`ovbench demo`: the embedded world's leaderboard."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command()
@click.option("--protocol", default="world-27-9", show_default=True, help="Protocol whose board is run.")
@click.option(
    "--methods", help="Rows, comma separated, instead of the protocol's board: METHOD[:VARIANT][+vote]."
)
@click.option(
    "--data-root", type=click.Path(path_type=Path), help="Folder of the data set (the world needs none)."
)
@click.option("--videos", type=int, help="Only the first N videos.")
@click.option("--frames", type=int, help="Only the first N frames of each video.")
@click.option("--jobs", type=int, help="Worker processes; default: the usable cores.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/demo"), show_default=True)
def command(
    protocol: str,
    methods: str | None,
    data_root: Path | None,
    videos: int | None,
    frames: int | None,
    jobs: int | None,
    out: Path,
) -> None:
    """Run a protocol's leaderboard and print the table: no data, no GPU.

    Can be stopped at any moment; the same command goes on where it stopped.
    """
    from ovbench.engine.board import board_rows, run_board
    from ovbench.engine.plan import Request
    from ovbench.report.table import render

    shared = Request(
        method="",
        protocol=protocol,
        data_root=data_root,
        videos=videos,
        frames=frames,
        jobs=jobs,
        out=out,
        command=tuple(sys.argv),
    )
    rows = [m.strip() for m in methods.split(",") if m.strip()] if methods else board_rows(protocol)
    folders = run_board(shared, rows)
    click.echo(render(folders, format="text", partial=bool(videos or frames)))
    for row, folder in zip(rows, folders, strict=True):
        click.echo(f"{row}: {folder}")
