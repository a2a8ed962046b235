"""`ovbench doctor`: say what this installation can do."""

from __future__ import annotations

import click


@click.command()
def command() -> None:
    """Say what this installation can do. Exit code 1 when something is broken."""
    from ovbench.engine.check import checks

    problems = 0
    for check in checks():
        problems += check.level == "problem"
        click.echo(f"{check.level:<8} {check.what}")
        if check.hint:
            click.echo(f"         next: {check.hint}")
    click.echo(f"\n{problems} problems" if problems else "\nall is well")
    if problems:
        raise click.exceptions.Exit(1)
