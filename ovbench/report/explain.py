"""`ovbench explain`: how a score came about, in words and numbers, derived from the records of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ovbench.core.errors import UserError
from ovbench.metrics.conventions import Convention
from ovbench.metrics.conventions import convention as named_convention
from ovbench.metrics.sample import class_sums

from . import explain_parts as parts
from .explain_beside import beside_parts, class_conventions_part
from .explain_check import check, check_convention
from .explain_class import confusion_parts, find_class, pixels_part, videos_part, weight_part
from .explain_counts import ClassFacts, facts_from_records, facts_from_summary, group_arithmetic, members
from .explain_images import image_arithmetic
from .explain_model import Explanation, Part
from .explain_source import Source, open_source


def explain(
    path: str | Path,
    *,
    wanted: str | None = None,
    convention: str | None = None,
    protocol: str | None = None,
) -> Explanation:
    """How the scores of a run came about.

    Args:
        path: a run folder, or a summary.json with or without its run.
        wanted: one class instead of the run: its name, clean name or index.
        convention: explain under this convention; default: that of the summary.
        protocol: the user's own protocol file, where the run was made with one.

    Raises:
        UserError: no such file, class or convention, or what was asked for needs records.
        IncompleteError: the run is not finished.
        IntegrityError: a file is damaged, or the records do not give the numbers of the summary.
    """
    source = open_source(path, protocol)
    own = named_convention(str(source.summary["convention"]["id"]))
    if convention is not None and (convention == "all" or "," in convention):
        raise UserError(
            f"'{convention}' is more than one convention",
            hint="explain takes one id; `ovbench table --convention all` sets them side by side",
        )
    rule = own if convention is None else named_convention(convention)
    facts = _facts(source, own)
    numbers = _arithmetic(source, own, facts)
    check(source, facts, numbers)
    if rule.id != own.id:
        rules = source.need(f"the convention '{rule.id}'")
        facts = facts_from_records(rules, source.records, rule)
        numbers = _arithmetic(source, rule, facts)
        check_convention(source, rule, numbers)
    about = source.summary["protocol"]
    title = f"{source.name} on {about['id']} v{about['version']}"
    if wanted is None:
        return Explanation(
            f"How the scores of {title} came about", tuple(_of_run(source, rule, facts, numbers))
        )
    fact = find_class(source, facts, wanted)
    return Explanation(f"How '{fact.name}' fared: {title}", tuple(_of_class(source, rule, facts, fact)))


def _facts(source: Source, rule: Convention) -> list[ClassFacts]:
    if source.full and source.protocol is not None:
        return facts_from_records(source.protocol, source.records, rule)
    return facts_from_summary(source.summary, rule)


def _arithmetic(source: Source, rule: Convention, facts: Sequence[ClassFacts]) -> dict[str, dict[str, Any]]:
    """Group -> numerators, denominators and values of its scores."""
    groups = members(facts, source.protocol)
    if rule.pooled:
        return {name: group_arithmetic(group, rule) for name, group in groups.items()}
    protocol = source.need(f"the convention '{rule.id}'")
    return {name: image_arithmetic(protocol, source.records, rule, group) for name, group in groups.items()}


def _of_run(
    source: Source, rule: Convention, facts: Sequence[ClassFacts], numbers: Mapping[str, Mapping[str, Any]]
) -> list[Part]:
    own = rule.id == source.summary["convention"]["id"]
    groups = members(facts, source.protocol)
    found: list[Part | None] = [
        parts.about(source),
        parts.scored(source),
        parts.rule_part(rule, source),
        parts.score_part(source, rule, numbers, own),
        parts.terms_part(source, groups),
        parts.left_out_part(facts, rule, source.summary["counts"]["videos"]),
        parts.bias_part(source, _taken(source), groups) if own else None,
        parts.interval_part(source),
        *beside_parts(source),
    ]
    return [part for part in found if part is not None]


def _taken(source: Source) -> int | None:
    """Unseen truth pixels that were given to a seen class."""
    if not source.full or source.protocol is None:
        return None
    return sum(class_sums(source.protocol, r.counts.joint).unseen_as_seen for r in source.records)


def _of_class(source: Source, rule: Convention, facts: Sequence[ClassFacts], fact: ClassFacts) -> list[Part]:
    found = [parts.about(source), parts.rule_part(rule, source), pixels_part(fact, source.protocol)]
    if source.full and source.protocol is not None:
        found += confusion_parts(source.protocol, source, fact)
        found.append(videos_part(source.protocol, source, fact, rule))
    if rule.pooled:  # otherwise a class moves each image's mean, not one of the run
        found.append(weight_part(fact, facts, source, rule))
    if source.full and source.protocol is not None:
        found += class_conventions_part(source.protocol, source, fact)
    return found
