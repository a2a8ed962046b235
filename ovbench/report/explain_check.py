"""Whether the numbers derived again are those that the summary states."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ovbench.core.errors import IntegrityError
from ovbench.metrics.conventions import Convention
from ovbench.metrics.iou import COLUMNS
from ovbench.metrics.openvocab import open_vocabulary
from ovbench.metrics.score import scores_under
from ovbench.metrics.taxonomy import taxonomy_for
from ovbench.metrics.temporal import temporal_summary
from ovbench.protocol.schema import Protocol

from .explain_counts import ClassFacts, confusion, harmonic_of
from .explain_source import Source

SLACK = 1e-6
"""Percent; sums of float64 in another order."""

_COUNTS = ("videos", "frames", "annotated_frames", "pixels")
_CLASS = ("index", "name", "group", "kind", "truth", "prediction", "videos", "acc")


def check(source: Source, facts: Sequence[ClassFacts], numbers: Mapping[str, Mapping[str, Any]]) -> None:
    """Compare everything that was derived from the records with the summary.

    Args:
        facts, numbers: the classes and the arithmetic of each group, under the convention of the summary.

    Raises:
        IntegrityError: naming the first number that differs, with both values.
    """
    stated, derived = source.summary, _derived(source, facts, numbers)
    for where, ours in derived.items():
        theirs = _find(stated, where)
        if theirs is not _ABSENT and _differ(theirs, ours):
            raise IntegrityError(
                f"summary.json says {_shown(theirs)} for {where}, the records give {_shown(ours)}",
                where=source.path,
                hint="the summary was not made from these records; run the same command again after "
                "removing summary.json",
            )


def _derived(
    source: Source, facts: Sequence[ClassFacts], numbers: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, group in numbers.items():
        found |= {f"scores.{name}.{m}": group[m]["value"] for m in COLUMNS if m in group}
        found[f"counts.classes.{name}"] = group["present"]
    seen, unseen = (found[f"scores.{g}.miou"] for g in ("seen", "unseen"))
    found["scores.harmonic.miou"] = harmonic_of(seen, unseen)
    found["per_class.#"] = len(facts)
    for i, fact in enumerate(facts):
        found |= {f"per_class.{i}.{key}": value for key, value in _class_row(fact).items()}
    if source.full and source.protocol is not None:
        found |= _counted(source)
        temporal = temporal_summary(source.protocol, [r.counts for r in source.records])
        merged = _merged(source, source.protocol)
        for key, part in (("temporal", temporal), ("open_vocabulary", merged)):
            found |= {f"{key}.{k}": v for k, v in _leaves(part) if isinstance(v, float | int)}
    return found


def _merged(source: Source, protocol: Protocol) -> Mapping[str, Any]:
    """The taxonomy's scores; nothing where the summary was made with another version of the taxonomy."""
    taxonomy = taxonomy_for(protocol)
    stated = (source.summary.get("open_vocabulary") or {}).get("taxonomy") or {}
    if taxonomy is None or stated.get("hash") != taxonomy.hash:
        return {}
    return open_vocabulary(protocol, confusion(protocol, source.records), taxonomy)


def _class_row(fact: ClassFacts) -> dict[str, Any]:
    value = {key: getattr(fact, key) for key in _CLASS}
    return {**value, "iou": (fact.iou or 0.0) if fact.enters_iou else None}


def _counted(source: Source) -> dict[str, Any]:
    parts = [r.counts for r in source.records]
    numbers = (len(parts), sum(c.frames for c in parts), sum(c.annotated for c in parts))
    return {f"counts.{key}": n for key, n in zip(_COUNTS, numbers, strict=False)}


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


_ABSENT = object()


def _find(tree: Any, where: str) -> Any:
    """The value at "a.b.0.c"; "#" is the length of a list; `_ABSENT` where an older ovbench wrote none."""
    for key in where.split("."):
        if isinstance(tree, list):
            tree = len(tree) if key == "#" else tree[int(key)] if int(key) < len(tree) else _ABSENT
        elif isinstance(tree, Mapping):
            tree = tree.get(key, _ABSENT)
        else:
            return _ABSENT
    return tree


def _differ(stated: Any, derived: Any) -> bool:
    numbers = [isinstance(v, int | float) and not isinstance(v, bool) for v in (stated, derived)]
    if all(numbers):
        return not abs(stated - derived) <= SLACK
    return bool(stated != derived)


def _shown(value: Any) -> str:
    return "nothing" if value is None else f"{value:.6f}" if isinstance(value, float) else repr(value)


def check_convention(source: Source, rule: Convention, numbers: Mapping[str, Mapping[str, Any]]) -> None:
    """The calculation shown under another convention gives what scoring under it gives."""
    assert source.protocol is not None
    stated = scores_under(source.protocol, source.records, rule.id)["scores"]
    for name, found in numbers.items():
        for metric in (m for m in COLUMNS if m in found):
            ours, theirs = found[metric]["value"], stated[name][metric]
            if _differ(theirs, ours):
                raise IntegrityError(
                    f"{name} {metric} under {rule.id}: {_shown(ours)} here, {_shown(theirs)} in scoring",
                    where=source.path,
                    hint="this is a fault of ours; please report it",
                )
