"""`ovbench explain`: how a score came about."""

from __future__ import annotations

from pathlib import Path

import click

from .formats import format_option


@click.command()
@click.argument("summary", type=click.Path(path_type=Path))
@click.option("--class", "wanted", metavar="C", help="One class: its name, clean name or index.")
@click.option("--convention", metavar="ID", help="Explain the score under another convention.")
@click.option("--protocol", help="Path of your own protocol, where the run was made with one.")
@format_option("text", "md", "json")
def command(
    summary: Path, wanted: str | None, convention: str | None, protocol: str | None, form: str
) -> None:
    """Say in words and numbers how a score came about.

    SUMMARY is a run folder or its summary.json. Everything is derived again from the records and compared
    with the summary; exit code 4 where they disagree.
    """
    from ovbench.report.explain import explain
    from ovbench.report.explain_formats import write_explanation

    click.echo(
        write_explanation(explain(summary, wanted=wanted, convention=convention, protocol=protocol), form)
    )
