"""`ovbench report`: one page about runs, to be sent to somebody."""

from __future__ import annotations

from pathlib import Path

import click

from .again import offering_partial


@click.command()
@click.argument("run_dirs", nargs=-1, metavar="[RUN_DIR]...", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("report.html"),
    show_default=True,
    help="The file to write.",
)
@click.option("--title", help="Heading of the page; default: the protocol's title.")
@click.option("--protocol", help="Only runs of this protocol: an id, or a path to a .toml.")
@click.option(
    "--partial", is_flag=True, help="Also runs limited to some videos or frames, in tables of their own."
)
@click.option(
    "--mean-seeds", is_flag=True, help="Training seeds of one method in one row: mean and deviation."
)
@click.option(
    "--group",
    type=click.Choice(["backbone", "training-data", "kind"]),
    help="Say this of each row, from the methods' cards; the page can be filtered by it.",
)
@click.option("--profile", help="Of methods with several networks under one name, only this one.")
@click.option(
    "--data-root",
    type=click.Path(path_type=Path),
    help="Folder of the data set, for the videos (the world needs none).",
)
@click.option("--video", "videos", multiple=True, metavar="ID", help="A video to show; may be repeated.")
@click.option(
    "--videos",
    "count",
    type=click.IntRange(0),
    default=12,
    show_default=True,
    help="How many videos to show, evenly spaced over the protocol's; 0: none.",
)
@click.option(
    "--budget",
    type=float,
    default=15.0,
    show_default=True,
    metavar="MB",
    help="Pictures are thinned out until the page is no larger than this.",
)
@click.option("--no-figures", is_flag=True, help="Leave the figures out: quicker, smaller.")
@click.option("--force", is_flag=True, help="Replace a file at --out that is no report.")
def command(
    run_dirs: tuple[Path, ...],
    out: Path,
    title: str | None,
    protocol: str | None,
    partial: bool,
    mean_seeds: bool,
    group: str | None,
    profile: str | None,
    data_root: Path | None,
    videos: tuple[str, ...],
    count: int,
    budget: float,
    no_figures: bool,
    force: bool,
) -> None:
    """Write one self-contained HTML page about runs; without RUN_DIR about all below ./runs.

    Leaderboard, figures, classes, where each number comes from, and videos of runs that kept their label maps
    (`run --save-predictions`). The page loads nothing from anywhere. The last line on stdout is its path.
    """
    from ovbench.report.find import open_runs
    from ovbench.report.page import Options, write_report

    options = Options(
        title,
        protocol,
        partial,
        mean_seeds,
        group=group,
        profile=profile,
        data_root=data_root,
        videos=videos,
        video_count=count,
        budget=budget,
        figures=not no_figures,
    )
    with offering_partial():
        page = write_report(open_runs(run_dirs), out, options, force=force)
    click.echo(page)
