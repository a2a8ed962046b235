"""Which classes a protocol's groups really score."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ovbench.protocol.schema import Protocol

Classes = NDArray[np.int64]

PARTS = ("", "thing", "stuff")
"""Every group is scored whole, and its things and stuff apart."""


def scored_groups(protocol: Protocol) -> dict[str, Classes]:
    """Group name -> (K,) class indices that are scored; all, seen, unseen first, then named groups.

    A conventional protocol scores unseen classes only: its "seen" is empty and its "all" is "unseen".
    """
    names = ["all", "seen", "unseen"]
    names += [n for n in protocol.groups if n not in names]
    scored = set(protocol.scored_classes)
    return {n: np.array([c for c in protocol.groups[n] if c in scored], np.int64) for n in names}


def of_kind(protocol: Protocol, classes: Classes, kind: str) -> Classes:
    """Those of the classes that are of a kind ("thing" or "stuff"; "": all of them)."""
    return np.array([c for c in classes.tolist() if kind in ("", protocol.classes[c].kind)], np.int64)


def scored_parts(protocol: Protocol) -> dict[str, tuple[Classes, ...]]:
    """Group name -> its classes, one array for each of `PARTS`."""
    groups = scored_groups(protocol)
    return {
        name: tuple(of_kind(protocol, members, kind) for kind in PARTS) for name, members in groups.items()
    }
