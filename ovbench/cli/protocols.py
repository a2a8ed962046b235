"""`ovbench protocols`: the list of protocols, and one of them explained."""

from __future__ import annotations

import json
from typing import Any

import click

FORMATS = click.Choice(["table", "json"])
COLUMNS = ("id", "v", "data", "seen/unseen", "vocabulary", "scored", "hash", "title")


@click.group(invoke_without_command=True)
@click.option("--format", "form", type=FORMATS, default="table", show_default=True, help="How to print.")
@click.pass_context
def command(context: click.Context, form: str) -> None:
    """List the protocols; `show ID` explains one."""
    if context.invoked_subcommand is not None:
        return
    from ovbench.protocol.describe import brief
    from ovbench.protocol.load import load_protocol, protocol_ids

    rows = [brief(load_protocol(name)) for name in protocol_ids()]
    click.echo(json.dumps(rows, indent=1) if form == "json" else _table(rows))


@command.command()
@click.argument("protocol", metavar="ID")
@click.option("--format", "form", type=FORMATS, default="table", show_default=True, help="How to print.")
def show(protocol: str, form: str) -> None:
    """Explain the protocol ID (or a .toml file of your own) in words, with its hash."""
    from ovbench.protocol.describe import as_dict, describe
    from ovbench.protocol.load import load_protocol

    loaded = load_protocol(protocol)
    click.echo(json.dumps(as_dict(loaded), indent=1) if form == "json" else describe(loaded))


def _table(rows: list[dict[str, Any]]) -> str:
    cells = [COLUMNS, *(_cells(row) for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(COLUMNS))]
    lines = ["  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in cells]
    return "\n".join([*lines, "", "ovbench protocols show ID explains one in words."])


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        row["id"],
        str(row["version"]),
        f"{row['dataset']}/{row['split']}",
        f"{row['seen']}/{row['unseen']}",
        f"{row['vocabulary']} ({row['vocabulary_size']})",
        f"{row['scored']} ({row['scored_size']})",
        row["hash"][:12],
        row["title"],
    )
