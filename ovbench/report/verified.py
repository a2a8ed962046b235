"""Whether a summary is what the records of its run give: derived again as a whole, compared value by value."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from ovbench.core.errors import IntegrityError
from ovbench.metrics.score import summarize
from ovbench.protocol.schema import Protocol
from ovbench.store.rundir import RunDir

from .extent import limits
from .model import Run

SLACK = 1e-9
"""Relative, of float64 (absolute below 1): sums in another order, by another NumPy."""

_ABSENT = object()
_HELD = "_verified"
_APART = ("method",)  # copied from the manifest, not derived
_WORDING = ("convention.text", "temporal.note")  # sentences may be improved from version to version


def verify(run: Run, protocol: Protocol) -> None:
    """Derive the summary of a run again from its records and compare every value in it.

    The taxonomy's scores are left out where the summary was made with another version of the taxonomy.

    Args:
        protocol: the very protocol the run was made with.

    Raises:
        IntegrityError: naming the first value that differs, with both values; a record is gone or damaged.
    """
    check_records(run)
    assert run.summary is not None
    if vars(run).get(_HELD) == protocol.hash:  # a page and its figures ask again and again
        return
    derived = summarize(protocol, run.records, {}, partial=limits(run, protocol), expected_videos=run.videos)
    stated, ours = _alike(run.summary, json.loads(json.dumps(derived)))
    found = _difference(stated, ours, "")
    if found is not None:
        raise differs(run.path, *found)
    vars(run)[_HELD] = protocol.hash  # of what was read into memory, as `Run.records` is


def check_records(run: Run) -> None:
    """Raise `IntegrityError` where a record is gone that the summary counts."""
    there = RunDir(run.path).finished()
    missing = (run.summary or {}).get("missing_videos", ())
    gone = [v for v in run.videos if v not in there and v not in missing]
    if gone:
        raise IntegrityError(
            f"{len(gone)} of {len(run.videos)} records are gone that the summary counts, first: '{gone[0]}'",
            where=RunDir(run.path).records_path,
            hint="run the same command again; only what is missing is done",
        )


def differs(path: object, where: str, stated: Any, derived: Any) -> IntegrityError:
    """The error for a value of the summary that the records do not give."""
    return IntegrityError(
        f"summary.json says {shown(stated)} for {where}, the records give {shown(derived)}",
        where=path,
        hint="the summary was not made from these records (or by another version of ovbench); run the same "
        "command again after removing summary.json",
    )


def shown(value: Any) -> str:
    """A value as messages print it."""
    if value is None or value is _ABSENT:
        return "nothing"
    return f"{value:.6f}" if isinstance(value, float) else repr(value)[:80]


def equal(stated: Any, derived: Any) -> bool:
    """Whether two single values are the same; None is the same as None only, a NaN as nothing."""
    kinds = [isinstance(v, int | float) and not isinstance(v, bool) for v in (stated, derived)]
    if not all(kinds):
        return type(stated) is type(derived) and bool(stated == derived)
    if isinstance(stated, int) and isinstance(derived, int):
        return stated == derived
    return math.isfinite(stated) and abs(stated - derived) <= SLACK * max(1.0, abs(derived))


def _difference(stated: Any, derived: Any, where: str) -> tuple[str, Any, Any] | None:
    """Path and both values of the first leaf that differs."""
    if isinstance(stated, Mapping) and isinstance(derived, Mapping):
        keys: Sequence[Any] = [*derived, *(k for k in stated if k not in derived)]
        pairs = [(key, stated.get(key, _ABSENT), derived.get(key, _ABSENT)) for key in keys]
    elif isinstance(stated, list) and isinstance(derived, list):
        if len(stated) != len(derived):
            return f"the length of {where}", len(stated), len(derived)
        pairs = list(zip(range(len(derived)), stated, derived, strict=True))
    else:
        sentence = where in _WORDING and isinstance(stated, str) and isinstance(derived, str)
        return None if sentence or equal(stated, derived) else (where, stated, derived)
    for key, theirs, ours in pairs:
        found = _difference(theirs, ours, f"{where}.{key}" if where else str(key))
        if found is not None:
            return found
    return None


def _alike(stated: Mapping[str, Any], derived: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Both summaries without what need not be the same in them."""
    hashes = [_taxonomy(t) for t in (stated, derived)]
    # a summary from before there was a taxonomy must still hold no score of one
    other = hashes[1] is not None and hashes[0] != hashes[1] and (hashes[0] is not None or _no_scores(stated))
    found = []
    for tree in (stated, derived):
        kept = {k: v for k, v in tree.items() if k not in _APART}
        if other:
            kept.pop("open_vocabulary", None)
            if isinstance(kept.get("intervals"), Mapping):
                kept["intervals"] = {k: v for k, v in kept["intervals"].items() if k != "open_vocabulary"}
        found.append(kept)
    return found


def _taxonomy(summary: Mapping[str, Any]) -> Any:
    part = summary.get("open_vocabulary")
    taxonomy = part.get("taxonomy") if isinstance(part, Mapping) else None
    return taxonomy.get("hash") if isinstance(taxonomy, Mapping) else None


def _no_scores(summary: Mapping[str, Any]) -> bool:
    """Whether the taxonomy's parts of a summary hold no number but numbers of classes."""
    intervals = summary.get("intervals")
    spans = intervals.get("open_vocabulary") if isinstance(intervals, Mapping) else None
    return all(map(_empty, (summary.get("open_vocabulary"), spans)))


def _empty(tree: Any) -> bool:
    if isinstance(tree, Mapping):
        return all(_empty(value) for key, value in tree.items() if key != "classes")
    return tree is None
