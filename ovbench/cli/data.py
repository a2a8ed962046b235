"""`ovbench data`: check what lies on disk."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ovbench.datasets.scan import Finding


@click.group(name="data")
def command() -> None:
    """Check data sets."""


@command.command()
@click.option("--protocol", "protocol_id", required=True, help="Protocol id, or a path to a .toml.")
@click.option("--data-root", type=click.Path(path_type=Path), help="Folder of the data set.")
@click.option("--train", is_flag=True, help="Check the training split.")
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text", show_default=True)
def verify(protocol_id: str, data_root: Path | None, train: bool, style: str) -> None:
    """Find what is missing, broken or odd, and say what to do.

    Every image and mask is decoded once. Exit code 0 without errors, 2 with errors.
    """
    from ovbench.datasets.verify import verify as check
    from ovbench.protocol.load import load_protocol

    protocol = load_protocol(protocol_id)
    progress = _Progress()
    findings = check(protocol, data_root, train, progress)
    progress.close()
    click.echo(as_json(findings) if style == "json" else as_text(findings))
    if any(f.severity == "error" for f in findings):
        raise click.exceptions.Exit(2)


def as_text(findings: Sequence[Finding]) -> str:
    """Findings as a person reads them, errors first, with a closing line that counts them."""
    from ovbench.datasets.verify import SEVERITIES

    lines = []
    for severity in SEVERITIES:
        for finding in (f for f in findings if f.severity == severity):
            lines.append(f"{severity}: {finding.what}")
            lines.append(f"  where: {finding.where}")
            if finding.hint:
                lines.append(f"  next:  {finding.hint}")
    counts = [sum(f.severity == s for f in findings) for s in SEVERITIES]
    lines.append(f"{_number(counts[0], 'error')}, {_number(counts[1], 'warning')}")
    return "\n".join(lines)


def as_json(findings: Sequence[Finding]) -> str:
    """Findings as a JSON list of objects with severity, what, where and hint."""
    return json.dumps([asdict(f) for f in findings], indent=1, ensure_ascii=False)


class _Progress:
    """Lines on stderr with an ETA: one that moves on a terminal, else one every ten seconds."""

    def __init__(self) -> None:
        self._began = self._shown = time.monotonic()
        self._open_line = False

    def __call__(self, done: int, total: int, video_id: str) -> None:
        now = time.monotonic()
        terminal = sys.stderr.isatty()
        if now - self._shown < (0.2 if terminal else 10.0):
            return
        self._shown = now
        left = "" if not done else f", {(now - self._began) / done * (total - done):.0f} s left"
        line = f"verify: {done}/{total} videos{left} ({video_id})"
        click.echo(f"\r{line:<78}" if terminal else line, nl=not terminal, err=True)
        self._open_line = terminal

    def close(self) -> None:
        """End the line that moves, if one was begun."""
        if self._open_line:
            click.echo(err=True)


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
