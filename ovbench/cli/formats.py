"""The option --format of verbs that print."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


def format_option(*formats: str) -> Callable[[Any], Any]:
    """`--format`, given to the command as `form`; the first of `formats` is the default."""
    return click.option(
        "--format",
        "form",
        type=click.Choice(formats),
        default=formats[0],
        show_default=True,
        help="How to print.",
    )
