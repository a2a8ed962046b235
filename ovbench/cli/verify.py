"""`ovbench verify`: whether runs are what they say they are."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--protocol", help="Path of the protocol, where it does not come with ovbench.")
@click.option(
    "--data-root", type=click.Path(path_type=Path), help="The data set, to check the list of videos against."
)
def command(path: Path, protocol: str | None, data_root: Path | None) -> None:
    """Check an archive of `ovbench pack`, or a run folder: exit code 0 if all fits, 4 with the reason if not.

    Every file is compared with its hash, every score derived again from the counts, every saved label map
    compared with what was counted, the list of videos with the protocol's where that is known. No data set is
    needed (with one, its list of videos is checked too), and no method runs: that the counts come from the
    method named is not shown by this (docs/submitting.md says how to see it).
    """
    from ovbench.core.words import plural
    from ovbench.report.packed import verify_path

    pack, verdicts = verify_path(path, protocol, data_root)
    if pack is not None:
        click.echo(
            f"pack of {plural(len(pack.runs), 'run')}, {plural(len(pack.files), 'file')}, content {pack.content}"
        )
    for verdict in verdicts:
        click.echo(f"ok  {verdict.line}")
        for note in verdict.notes:
            click.echo(f"    {note}")
    click.echo("Every score follows from the counts in the records.")
