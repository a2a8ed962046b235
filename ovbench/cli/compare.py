"""`ovbench compare`: two runs, paired by video."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("run_a", type=click.Path(path_type=Path))
@click.argument("run_b", type=click.Path(path_type=Path))
@click.option("--common", is_flag=True, help="Compare on the videos that both hold, when they differ.")
@click.option("--protocol", help="Path of your own protocol, where the runs were made with one.")
@click.option("--columns", type=click.Choice(["default", "all"]), default="default", show_default=True)
@click.option(
    "--classes", type=click.IntRange(min=0), default=10, show_default=True, help="How many classes to list."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "md", "csv", "json"]),
    default="text",
    show_default=True,
    help="How to print.",
)
def command(
    run_a: Path, run_b: Path, common: bool, protocol: str | None, columns: str, classes: int, form: str
) -> None:
    """Compare two runs video by video: is B better than A, by how much, and could it be chance?

    Runs over different videos: exit code 3, unless --common.
    """
    from ovbench.report.compare import compare_runs
    from ovbench.report.compare_formats import write_comparison

    found = compare_runs(run_a, run_b, common=common, protocol=protocol, columns=columns, classes=classes)
    click.echo(write_comparison(found, form))
