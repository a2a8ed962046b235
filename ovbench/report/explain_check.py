"""Whether the numbers derived again are those that the summary states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ovbench.core.errors import IntegrityError
from ovbench.metrics.conventions import Convention
from ovbench.metrics.iou import COLUMNS
from ovbench.metrics.score import scores_under

from .explain_counts import ClassFacts, harmonic_of
from .explain_source import Source
from .verified import differs, equal, shown

_CLASS = ("index", "name", "group", "kind", "truth", "prediction", "videos", "acc")


def check(source: Source, facts: Sequence[ClassFacts], numbers: Mapping[str, Mapping[str, Any]]) -> None:
    """Compare the classes and the arithmetic that an explanation shows with the summary.

    The whole summary of a run with records is checked by `verified.verify`; this is the second derivation.

    Args:
        facts, numbers: the classes and the arithmetic of each group, under the convention of the summary.

    Raises:
        IntegrityError: naming the first number that differs, with both values.
    """
    stated, derived = source.summary, _derived(source, facts, numbers)
    for where, ours in derived.items():
        theirs = _find(stated, where)
        if theirs is not _ABSENT and not equal(theirs, ours):
            raise differs(source.path, where, theirs, ours)


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
    return found


def _class_row(fact: ClassFacts) -> dict[str, Any]:
    value = {key: getattr(fact, key) for key in _CLASS}
    return {**value, "iou": (fact.iou or 0.0) if fact.enters_iou else None}


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


def check_convention(source: Source, rule: Convention, numbers: Mapping[str, Mapping[str, Any]]) -> None:
    """The calculation shown under another convention gives what scoring under it gives."""
    assert source.protocol is not None
    stated = scores_under(source.protocol, source.records, rule.id)["scores"]
    for name, found in numbers.items():
        for metric in (m for m in COLUMNS if m in found):
            ours, theirs = found[metric]["value"], stated[name][metric]
            if not equal(theirs, ours):
                raise IntegrityError(
                    f"{name} {metric} under {rule.id}: {shown(ours)} here, {shown(theirs)} in scoring",
                    where=source.path,
                    hint="this is a fault of ours; please report it",
                )
