"""The command line once more, for hints that can be copied."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager

import click
from click.core import ParameterSource

from ovbench.core.errors import UserError


def again(*more: str) -> str:
    """The command that is running, with its options as they were given, and `more` behind it."""
    context = click.get_current_context()
    words = context.command_path.split()
    for parameter in context.command.params:
        name = parameter.name or ""
        if context.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
            continue
        value = context.params[name]
        values = value if isinstance(value, tuple) else (value,)
        for one in values:
            if isinstance(parameter, click.Option):
                words.append(parameter.opts[0])
            if not (isinstance(parameter, click.Option) and parameter.is_flag):
                words.append(str(one))
    return shlex.join([*words, *more])


@contextmanager
def offering_partial() -> Iterator[None]:
    """Where all runs are partial, the hint is the whole command that shows them."""
    from ovbench.report.find import AllPartial

    try:
        yield
    except AllPartial as error:
        hint = f"{again('--partial')}   shows them, in tables of their own"
        raise UserError(error.what, where=error.where, hint=hint) from error
