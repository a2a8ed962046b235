"""`ovbench compare`: two runs or more, paired by video."""

from __future__ import annotations

from pathlib import Path

import click

from .formats import format_option


@click.command()
@click.argument(
    "runs", metavar="RUN_A RUN_B [RUN_C ...]", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option("--common", is_flag=True, help="Compare on the videos that both hold, when they differ.")
@click.option("--protocol", help="Path of your own protocol, where the runs were made with one.")
@click.option("--columns", type=click.Choice(["default", "all"]), default="default", show_default=True)
@click.option(
    "--classes", type=click.IntRange(min=0), default=10, show_default=True, help="How many classes to list."
)
@click.option(
    "--power",
    type=float,
    default=0.8,
    show_default=True,
    help="Videos needed: the wanted probability of finding the difference, between 0.5 and 1.",
)
@click.option(
    "--effect",
    type=float,
    help="Videos needed: the difference to find, in percentage points (default: the one between the runs).",
)
@format_option("text", "md", "csv", "json")
def command(
    runs: tuple[Path, ...],
    common: bool,
    protocol: str | None,
    columns: str,
    classes: int,
    power: float,
    effect: float | None,
    form: str,
) -> None:
    """Compare runs video by video: is B better than A, by how much, could it be chance, and how many
    videos would show it? With more than two runs, each is compared with the first.

    Runs over different videos: exit code 3, unless --common.
    """
    from ovbench.report.compare import compare_with_first
    from ovbench.report.compare_formats import write_comparisons

    found = compare_with_first(
        runs,
        common=common,
        protocol=protocol,
        columns=columns,
        classes=classes,
        power=power,
        effect=effect,
    )
    click.echo(write_comparisons(found, form))
