"""`ovbench table`: print tables of runs."""

from __future__ import annotations

from pathlib import Path

import click

from .again import offering_partial
from .formats import format_option


@click.command()
@click.argument("run_dirs", nargs=-1, metavar="[RUN_DIR]...", type=click.Path(path_type=Path))
@click.option("--protocol", help="Only runs of this protocol: an id, or a path to a .toml.")
@format_option("text", "md", "csv", "latex", "html", "json")
@click.option("--columns", type=click.Choice(["default", "all"]), default="default", show_default=True)
@click.option(
    "--partial", is_flag=True, help="Also runs limited to some videos or frames, in tables of their own."
)
@click.option(
    "--mean-seeds", is_flag=True, help="Training seeds of one method in one row: mean and deviation."
)
@click.option(
    "--expect", metavar="M,M,...", help="Methods that should be there; the missing ones are shown as gaps."
)
@click.option(
    "--convention", metavar="ID|all", help="Compute everything under another convention; all: side by side."
)
@click.option("--group", metavar="BY", help="Rows under headings, by: backbone, training-data, kind.")
@click.option("--profile", help="Of a method with several networks (paper, release), only this one.")
def command(
    run_dirs: tuple[Path, ...],
    protocol: str | None,
    form: str,
    columns: str,
    partial: bool,
    mean_seeds: bool,
    expect: str | None,
    convention: str | None,
    group: str | None,
    profile: str | None,
) -> None:
    """Print a table of runs; without RUN_DIR of all below ./runs.

    One table per protocol. Rows whose difference to the row above could be chance share its rank.
    """
    from ovbench.report.table import render

    wanted = [name.strip() for name in (expect or "").split(",") if name.strip()]
    with offering_partial():
        text = render(
            run_dirs,
            protocol,
            form,
            columns=columns,
            partial=partial,
            mean_seeds=mean_seeds,
            expect=wanted,
            convention=convention,
            group=group,
            profile=profile,
        )
    click.echo(text)
