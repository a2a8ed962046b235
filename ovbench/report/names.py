"""What rows are called, so that no two runs that differ share a name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ovbench.core.hashing import hash_json
from ovbench.methods.options import show

from .model import Run


def method_name(method: Mapping[str, Any], given: Mapping[str, Any] | None = None) -> str:
    """A method as `--methods` writes it, and what was set by hand.

    "ov2vss:image+vote (temporal=off)" for id "ov2vss+vote", variant "image" and `--set temporal=off`.
    """
    base, plus, wrapper = str(method["id"]).partition("+")
    name = f"{base}:{method['variant']}" if method.get("variant") else base
    extra = [f"{key}={show(value)}" for key, value in sorted((given or {}).items()) if key != "folder"]
    if method.get("source"):
        extra.insert(0, str(method["source"]))
    return _cut(name + plus + wrapper + (f" ({', '.join(extra)})" if extra else ""))


def _cut(name: str) -> str:
    """Hashes in a name cut to 10 digits: enough to tell rows apart, short enough to read."""
    return re.sub(r"\b([0-9a-f]{10})[0-9a-f]{54}\b", r"\1", name)


UNTRAINED = " (untrained)"
"""What follows the name of a run without trained weights wherever no column of marks stands beside it."""


def labelled(name: str, run: Run) -> str:
    """A run's name as pictures and headings say it."""
    return name + UNTRAINED if run.method.get("untrained") else name


def profiles_mixed(runs: Sequence[Run]) -> list[str]:
    """A warning per method of which runs of several profiles (networks of different function) stand together."""
    names = dict(zip(map(id, runs), names_of(runs), strict=True))
    found: dict[str, dict[str, list[str]]] = {}
    for run in runs:
        method = str(run.method["id"]).partition("+")[0]
        found.setdefault(method, {}).setdefault(run.profile or "unnamed", []).append(names[id(run)])
    return [
        f"PROFILES DIFFER: {method} stands here as "
        + " and as ".join(
            f"{profile} ({', '.join(dict.fromkeys(rows))})" for profile, rows in sorted(of.items())
        )
        + ". These are different networks: neither number stands for the other."
        for method, of in sorted(found.items())
        if len(of) > 1
    ]


def names_of(runs: Sequence[Run]) -> list[str]:
    """One name per run; runs that would share one are told apart by weights, then by folder."""
    names = [method_name(r.method, r.manifest.get("options", {}).get("given")) for r in runs]
    names = _told_apart(names, [_cut(str(r.method.get("weights") or "")) for r in runs])
    names = _told_apart(names, [r.path.name for r in runs])
    return _told_apart(names, [str(r.path) for r in runs])


def _told_apart(names: Sequence[str], details: Sequence[str]) -> list[str]:
    often = Counter(names)
    kinds = Counter((name, detail) for name, detail in dict.fromkeys(zip(names, details, strict=True)))
    differing = Counter(name for name, _ in kinds)
    return [
        f"{name} [{detail}]" if often[name] > 1 and differing[name] > 1 and detail else name
        for name, detail in zip(names, details, strict=True)
    ]


def seed_groups(runs: Sequence[Run], names: Sequence[str]) -> list[tuple[str, tuple[Run, ...]]]:
    """Runs that differ in nothing but the weights they were given, as one group each.

    A second run with the very same weights is no further seed: it stays a row of its own.
    """
    groups: dict[str, dict[str, Run]] = {}
    found: list[tuple[str, tuple[Run, ...]]] = []
    for run, name in zip(runs, names, strict=True):
        weights = run.method.get("weights_sha256")
        group = groups.setdefault(_identity(run), {})
        if weights is None or weights in group:
            found.append((name, (run,)))
        else:
            group[weights] = run
    name_of = {id(run): name for run, name in zip(runs, names, strict=True)}
    for group in groups.values():
        members = tuple(group.values())
        if len(members) > 1:
            given = members[0].manifest.get("options", {}).get("given")
            found.append((method_name(members[0].method, given), members))
        elif members:
            found.append((name_of[id(members[0])], members))
    return found


def _identity(run: Run) -> str:
    method = run.method
    return hash_json([method["id"], method.get("variant"), method.get("options"), method.get("untrained")])
