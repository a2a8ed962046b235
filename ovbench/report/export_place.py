"""Where an export goes: a file or folder that appears complete, and never replaces what nobody gave up."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from ovbench.core.errors import UserError
from ovbench.store.atomic import TEMPORARY_SUFFIX


@contextmanager
def new_file(out: Path, force: bool) -> Iterator[Path]:
    """A temporary path to write to; leaving normally gives it the name `out`, leaving by an error removes it.

    Raises:
        UserError: `out` exists and `force` is False, or is a folder, or cannot be made.
    """
    if out.is_dir():
        raise UserError("a folder has this name", where=out, hint="give a file with --out")
    if out.exists() and not force:
        raise UserError("this file exists already", where=out, hint="--force replaces it; or another --out")
    temporary = _beside(out)
    try:
        yield temporary
        os.replace(temporary, out)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(out: Path, force: bool, ours: Collection[str]) -> Iterator[Path]:
    """A temporary folder to write to; leaving normally gives it the name `out`.

    Args:
        ours: names that an export may have written; with `force` a folder of nothing else is replaced.

    Raises:
        UserError: `out` is a file, or holds something and `force` is False, or holds something of others.
    """
    if out.exists() and not out.is_dir():
        raise UserError("a file has this name", where=out, hint="give a folder with --out")
    held = sorted(e.name for e in out.iterdir()) if out.is_dir() else []
    if held and not force:
        raise UserError(
            "this folder is not empty", where=out, hint="--force replaces an export; or another --out"
        )
    foreign = [name for name in held if name not in ours]
    if foreign:
        raise UserError(
            f"this folder holds other files, which are not deleted: {', '.join(foreign[:5])}",
            where=out,
            hint="give another folder with --out",
        )
    temporary = _beside(out)
    try:
        temporary.mkdir()
        yield temporary
        if out.is_dir():
            shutil.rmtree(out)
        os.replace(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _beside(out: Path) -> Path:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"the folder cannot be made: {error.strerror}", where=out.parent) from error
    return out.with_name(f".{out.name}.{os.getpid()}-{secrets.token_hex(4)}{TEMPORARY_SUFFIX}")
