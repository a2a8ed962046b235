"""What a manifest must not give away: where the user's files lie and who the user is."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path


def public_path(path: str | Path) -> str:
    """A path as it may be published: relative to the working folder, or its last part alone.

    `/home/someone/data/VSPW_480p` becomes `.../VSPW_480p`; what lies below the working folder, and
    what was given relative to it, keeps its relative form.
    """
    path = Path(path)
    if path.is_absolute():
        try:
            return path.relative_to(Path.cwd()).as_posix()
        except ValueError:
            return f".../{path.name}"
    return path.as_posix()


def public_command(argv: Sequence[str]) -> list[str]:
    """A command line (`argv[0]` is our own program) with every absolute path shortened by `public_path`."""
    if not argv:
        return []
    return ["ovbench", *(_public_word(word) for word in argv[1:])]


def _public_word(word: str) -> str:
    head, sign, tail = word.rpartition("=")
    return head + sign + public_path(tail) if os.path.isabs(tail) else word
