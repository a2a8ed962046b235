"""Files that are either complete or not there: temporary sibling, flush, fsync, rename."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any

from ovbench.core.errors import UserError

TEMPORARY_SUFFIX = ".tmp"


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write `data` to `path`, so that a reader sees the old file or the new one and nothing between.

    Missing parent folders are made. The data are on the disk before the name appears; a process
    killed half-way leaves at most a hidden `.<name>.*.tmp` beside the file.

    Raises:
        UserError: the file cannot be written (disk full, no permission, a folder of that name);
            what was there before is untouched.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{TEMPORARY_SUFFIX}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _write_through(temporary, data)
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
    except OSError as error:
        raise UserError(
            f"cannot write the file: {error.strerror or error}",
            where=path,
            hint="nothing was lost; make room or change the folder, then run the same command again",
        ) from error


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8, newlines as they are; otherwise like `write_bytes`."""
    write_bytes(path, text.encode())


def write_json(path: str | Path, value: Any, indent: int | None = 1) -> None:
    """Write `value` as JSON with sorted keys and a newline at the end: equal values, equal bytes.

    Args:
        indent: None writes one line, which is quicker by far for many numbers.

    Raises:
        ValueError: `value` holds NaN or infinity, which JSON does not know (use None).
        UserError: see `write_bytes`.
    """
    text = json.dumps(value, sort_keys=True, indent=indent, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def is_temporary(path: str | Path) -> bool:
    """Whether `path` is what a killed `write_bytes` left behind."""
    name = Path(path).name
    return name.startswith(".") and name.endswith(TEMPORARY_SUFFIX)


def _write_through(path: Path, data: bytes) -> None:
    with open(path, "xb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _sync_folder(folder: Path) -> None:
    # Makes the rename itself durable. Not every system can open a folder; the file is whole anyway.
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)
