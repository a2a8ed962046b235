"""Rows of a table under headings: by backbone, by training data or by kind, as the methods' cards state them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ovbench.core.errors import UserError, unknown
from ovbench.methods.card import Card
from ovbench.methods.registry import cards

from .model import Row, Run

BY = ("backbone", "training-data", "kind")
NOT_SAID = "not stated"
NO_RUN = "no run"
_KINDS = {"image": "one frame at a time", "video": "several frames", "control": "control rows"}


def heading(run: Run, by: str) -> str:
    """What a run stands under; `NOT_SAID` where its card says nothing, or this installation has no such card."""
    if by not in BY:
        raise unknown("grouping", by, BY)
    method = run.method
    base, _, wrapper = str(method["id"]).partition("+")
    kind = str(method.get("kind") or "")
    if kind == "control" or by == "kind":
        if kind != "control" and wrapper:  # which looks at neighbouring frames, whatever it is put around
            kind = "video"
        elif kind == "video" and (method.get("options") or {}).get("temporal") is False:
            kind = "image"  # a network for several frames that was given one
        return _KINDS.get(kind, kind or NOT_SAID)
    card = cards().get(base)
    if by == "backbone":
        return (_backbone(card, str(method.get("variant") or "")) if card is not None else "") or NOT_SAID
    trained = method.get("trained_on") or (card.trained_on if card is not None else ())
    stated = card.variants.get(str(method.get("variant") or "")) if card is not None else None
    return "; ".join((stated.trained_on if stated is not None else ()) or trained) or NOT_SAID


def _backbone(card: Card, variant: str) -> str:
    stated = card.variants.get(variant)
    return (stated.backbone if stated is not None else "") or card.backbone


def into_groups(rows: Sequence[Row], headings: Sequence[str]) -> list[Row]:
    """Rows sorted into groups, in the order in which the groups first occur, control rows and gaps last.

    Inside a group the order stays.
    """
    named = [replace(row, group=text) for row, text in zip(rows, headings, strict=True)]
    order = list(dict.fromkeys(headings))
    last = (_KINDS["control"], NO_RUN)
    return sorted(named, key=lambda row: (row.group in last, order.index(row.group)))


def check_grouping(by: str | None) -> None:
    """Raise `UserError` for a grouping that does not exist."""
    if by is not None and by not in BY:
        raise unknown("grouping", by, BY)


def grouping_note(by: str | None) -> tuple[str, ...]:
    """The footnote of a grouped table."""
    if by is None:
        return ()
    what = {
        "backbone": "backbone",
        "training-data": "training data",
        "kind": "how many frames a method looks at",
    }[by]
    return (f"Grouped by {what}, as the methods' cards state it; ranks go over all groups.",)


def one_profile(runs: Sequence[Run], wanted: str | None) -> list[Run]:
    """The runs that may stand in one table: of one profile (network of different function) per method.

    Args:
        wanted: the profile asked for; methods that have none are kept.

    Raises:
        UserError: several profiles of one method, or no run of the one asked for.
    """
    if wanted is not None:
        kept = [run for run in runs if run.profile in ("", wanted)]
        if not any(run.profile for run in kept):
            have = sorted({run.profile for run in runs} - {""})
            raise UserError(
                f"no run is of profile '{wanted}'",
                hint=f"there are: {', '.join(have) or 'none with profiles'}",
            )
        return kept
    found: dict[str, dict[str, Run]] = {}
    for run in runs:
        if run.profile:
            found.setdefault(str(run.method["id"]).partition("+")[0], {}).setdefault(run.profile, run)
    for method, of in sorted(found.items()):
        if len(of) > 1:
            raise UserError(
                f"runs of {len(of)} profiles of {method} ({', '.join(sorted(of))}) cannot stand in one column: these "
                "are different networks, and neither number stands for the other",
                where=" and ".join(str(run.path) for _, run in sorted(of.items())),
                hint="choose one: " + " or ".join(f"--profile {name}" for name in sorted(of)),
            )
    return list(runs)
