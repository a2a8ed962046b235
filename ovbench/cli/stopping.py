"""What verbs that train and run many things say when they are interrupted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click


@contextmanager
def all_kept() -> Iterator[None]:
    """Ctrl-C in the block ends the command with code 130 and the promise that nothing done is lost."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo(
            "interrupted; finished trainings and runs are kept, and of the one at work its newest checkpoint "
            "or finished videos; the same command goes on",
            err=True,
        )
        raise click.exceptions.Exit(130) from None
