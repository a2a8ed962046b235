"""`ovbench score`: score label maps that lie on disk."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command()
@click.option(
    "--predictions",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder with VIDEO/FRAME.png of vocabulary indices, VIDEO.json (run lengths) or VIDEO.npy/.npz; one "
    ".json or .npz file; or the folder of a run that saved its label maps.",
)
@click.option("--protocol", required=True, help="Protocol id, or a path to a .toml.")
@click.option(
    "--data-root", type=click.Path(path_type=Path), help="Folder of the data set (the world needs none)."
)
@click.option("--videos", type=int, help="Only the first N videos (the summary is marked partial).")
@click.option("--frames", type=int, help="Only the first N frames of each video (marked partial).")
@click.option("--jobs", type=int, help="Worker processes; default: the usable cores.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Run folder; default: runs/PROTOCOL/predictions/KEY."
)
@click.option(
    "--flow",
    multiple=True,
    metavar="BACKEND",
    help="Also temporal consistency along an optical flow: dis, dis-fast, dis-ultrafast, farneback, "
    "raft-small=FILE, raft-large=FILE, files=DIR; each also with -fb (dis-fb, raft-small-fb=FILE), which leaves "
    "occluded pixels out. May be repeated.",
)
@click.option(
    "--name",
    help="What tables call them: predictions (NAME). Default: the folder's name, or the method whose run saved them.",
)
@click.option(
    "--save-predictions",
    is_flag=True,
    help="Keep copies of the label maps in the run folder, for show, report, plot strip and pack.",
)
@click.option("--fresh", is_flag=True, help="Delete the run in the folder and begin anew.")
def command(
    predictions: Path,
    protocol: str,
    data_root: Path | None,
    videos: int | None,
    frames: int | None,
    jobs: int | None,
    out: Path | None,
    flow: tuple[str, ...],
    name: str | None,
    save_predictions: bool,
    fresh: bool,
) -> None:
    """Score label maps that lie on disk.

    Photographs are needed for --flow only. Missing frames: exit code 3, and nothing is written. The last
    line on stdout is the path of summary.json.
    """
    from ovbench.engine.evaluate import score

    summary = score(
        predictions,
        protocol,
        data_root=data_root,
        jobs=jobs,
        out=out,
        videos=videos,
        frames=frames,
        fresh=fresh,
        flow=flow,
        name=name,
        save_predictions=save_predictions,
        command=tuple(sys.argv),
    )
    click.echo(summary)
