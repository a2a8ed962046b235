"""The errors a user can meet, each with the exit code that the command line returns for it."""

from __future__ import annotations

import difflib
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path


class OvbenchError(Exception):
    """Something went wrong that we can name.

    Args:
        what: one sentence that says what is wrong.
        where: the file, key, video or frame concerned.
        hint: what to do next, usually a command.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: object = None, hint: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = None if where is None else str(where)
        self.hint = hint

    def __str__(self) -> str:
        lines = [self.what]
        if self.where is not None:
            lines.append(f"  where: {self.where}")
        if self.hint is not None:
            lines.append(f"  next:  {self.hint}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process borders (worker -> parent), keyword arguments included.
        return (_rebuild, (type(self), self.what, self.where, self.hint))


class UserError(OvbenchError):
    """The user's mistake: an unknown name, a wrong option, data that is not as described."""

    exit_code = 2


class IncompleteError(OvbenchError):
    """Results exist but are not complete: missing videos, frames or predictions."""

    exit_code = 3


class IntegrityError(OvbenchError):
    """Stored data contradict each other: a hash, a count or a record does not fit."""

    exit_code = 4


def _rebuild(cls: type[OvbenchError], what: str, where: str | None, hint: str | None) -> OvbenchError:
    return cls(what, where=where, hint=hint)


def unknown(kind: str, name: str, known: Iterable[str], *, where: object = None) -> UserError:
    """A `UserError` for a name that does not exist, with the nearest names and the full list."""
    options = sorted(known)
    near = difflib.get_close_matches(name.lower(), options, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    hint += f"Known: {', '.join(options) if options else '(none)'}"
    return UserError(f"unknown {kind} '{name}'", where=where, hint=hint)


def missing_extra(package: str, extra: str) -> UserError:
    """A `UserError` for an optional dependency that is not installed, naming the extra."""
    return UserError(
        f"this needs the package '{package}', which is not installed",
        hint=install_extra(extra),
    )


def install_extra(extra: str) -> str:
    """The command that installs an extra for the very interpreter that runs this."""
    root = Path(__file__).resolve().parents[2]
    checkout = (root / "pyproject.toml").is_file() and (root / "ovbench").is_dir()
    what = ["-e", f"{root}[{extra}]"] if checkout else [f"ovbench[{extra}]"]
    return shlex.join([sys.executable or "python", "-m", "pip", "install", *what])
