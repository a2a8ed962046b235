"""Entry points and versions of installed packages, without `importlib.metadata` where that is not needed."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


def entry_points(group: str) -> Iterable[EntryPoint]:
    """The entry points of a group; looked up only when asked for, because loading the module takes long."""
    from importlib.metadata import entry_points as found

    return found(group=group)


def installed_version(name: str) -> str | None:
    """Version of an installed distribution, None when it is absent; imports nothing of it.

    The name of its `.dist-info` folder says it (binary distribution format, "escaping"); other kinds of
    installation are left to `importlib.metadata`.
    """
    versions, others = _listed(tuple(sys.path))
    key = _normal(name)
    if key in versions:
        return versions[key]
    if not others:
        return None
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return None


@cache
def _listed(folders: tuple[str, ...]) -> tuple[dict[str, str], bool]:
    """Normal name -> version of every `.dist-info` folder, and whether there are eggs or zipped packages too."""
    versions: dict[str, str] = {}
    others = False
    for folder in folders:
        try:
            names = os.listdir(folder or ".")
        except NotADirectoryError:
            others = True
            continue
        except OSError:
            continue
        for entry in names:
            stem, suffix = os.path.splitext(entry)
            if suffix == ".dist-info":
                name, _, version = stem.partition("-")
                versions.setdefault(_normal(name), version)
            others = others or suffix in (".egg-info", ".egg", ".egg-link")
    return versions, others


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
