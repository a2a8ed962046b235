"""One writer per run folder: an advisory lock that the system releases when its holder dies."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ovbench.core.errors import UserError

try:
    import fcntl
except ImportError:  # no such locks on this system; atomic writes alone keep the files whole
    fcntl = None  # type: ignore[assignment]

LOCK_NAME = ".lock"
_NOT_SUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Hold the lock of `folder` (made when missing).

    A file system without locks is used without one.

    Raises:
        UserError: another process holds it, or there can be no folder here.
    """
    _make(folder)
    if fcntl is None:
        yield
        return
    path = folder / LOCK_NAME
    handle = _acquire(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # still locked: who waits for this file sees that it is gone
        os.close(handle)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        reason = "a file has this name" if isinstance(error, FileExistsError) else error.strerror
        raise UserError(
            f"the output folder cannot be made: {reason}",
            where=folder,
            hint="give another folder with --out, below one that you may write to",
        ) from error


def _acquire(path: Path) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise UserError(
                "another process is writing this run right now",
                where=path.parent,
                hint="wait for it, or give another folder with --out",
            ) from None
        except OSError as error:
            if error.errno in _NOT_SUPPORTED:
                return handle
            os.close(handle)
            raise
        if _is_current(handle, path):
            return handle
        os.close(handle)  # its holder removed the file between our open and our lock


def _is_current(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False
