"""Where things lie: the data rooms of the package, the user's cache, and names that are safe as paths."""

from __future__ import annotations

import os
import re
from pathlib import Path

from .errors import UserError

_PACKAGE = Path(__file__).resolve().parent.parent
_ID = re.compile(r"[A-Za-z0-9_+][A-Za-z0-9._+-]*")


def room(name: str) -> Path:
    """Folder of a data room ("protocols", "baselines" or "results").

    In a wheel the rooms lie inside the package; in a checkout beside it.
    """
    inside = _PACKAGE / name
    return inside if inside.is_dir() else _PACKAGE.parent / name


def cache_dir(*parts: str) -> Path:
    """A folder for things that can be made again (`$OVBENCH_CACHE`, else the user's cache); not created."""
    base = os.environ.get("OVBENCH_CACHE")
    if base is None:
        home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
        base = os.path.join(home, "ovbench")
    return Path(base, *parts)


def check_id(kind: str, name: str) -> str:
    """Return `name` if it may become one path component; raise `UserError` otherwise."""
    if not _ID.fullmatch(name):
        raise UserError(
            f"{kind} '{name}' cannot be used as a file name",
            hint="use letters, digits, '.', '_', '+' and '-', not starting with '.' or '-'",
        )
    return name


def inside(base: Path, *parts: str) -> Path:
    """`base/parts...`, refused with `UserError` when it would lie outside `base`."""
    target = base.joinpath(*parts)
    if not target.resolve().is_relative_to(base.resolve()):
        raise UserError(f"path '{os.path.join(*parts)}' leaves its folder", where=base)
    return target
