"""Which columns a table has, and in which order: what the protocol is judged by comes first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ovbench.core.errors import unknown
from ovbench.metrics.flicker import FLOW_SCORES
from ovbench.metrics.groups import of_kind, scored_groups
from ovbench.metrics.taxonomy import taxonomy_for
from ovbench.protocol.schema import Protocol

from .model import Cell, Column
from .values import SPEED

CHOICES = ("default", "all")
_METRICS = {"miou": "mIoU", "fwiou": "fwIoU", "macc": "mAcc", "pacc": "pAcc"}
_KINDS = {"things_miou": "things", "stuff_miou": "stuff"}
_MODES = ("script", "clean", "correct")


def headline_key(protocol: Protocol | None, scores: Mapping[str, Any]) -> str:
    """Key of the score that sorts a table: the protocol's headline, else the strictest that is defined."""
    if protocol is not None:
        return f"{protocol.headline_group}.miou"
    for group in ("harmonic", "unseen"):
        if scores.get(group, {}).get("miou") is not None:
            return f"{group}.miou"
    return "all.miou"


def columns_for(
    headline: str,
    counts: Mapping[str, Any],
    rows: Sequence[Mapping[str, Cell]],
    choice: str = "default",
    protocol: Protocol | None = None,
) -> tuple[Column, ...]:
    """Columns of a table: those that its protocol calls for, with or without a value in these data.

    Args:
        counts: `counts` of a summary (which groups score how many classes).
        rows: the cells of all rows.
        choice: "default" (what fits a terminal) or "all".
        protocol: what the runs were made with; without it, windows and kinds of classes are known by
            their values alone.
    """
    if choice not in CHOICES:
        raise unknown("choice of columns", choice, CHOICES)
    sizes = counts["scored_classes"] if protocol is None else _sizes(protocol)
    groups = _groups(headline.partition(".")[0], sizes)
    have = {key for cells in rows for key, cell in cells.items() if cell.value is not None}
    called = {headline} | _called_for(groups, sizes, protocol)
    windows = sorted({int(k[2 : k.index(".")]) for k in have | called if k.startswith("vc")})
    every = _default(groups, windows)
    if choice == "all":
        *scores, speed = _all(groups, sizes, windows)
        every = [*scores, *_change_columns(have), *_taxonomy_columns(groups, sizes, protocol), speed]
    return tuple(c for c in every if c.key in have | called)


def _sizes(protocol: Protocol) -> dict[str, int]:
    return {name: len(classes) for name, classes in scored_groups(protocol).items()}


def _called_for(groups: Sequence[str], sizes: Mapping[str, int], protocol: Protocol | None) -> set[str]:
    """Keys of the scores that apply, whether or not the data define them."""
    keys = {f"{g}.{m}" for g in groups if g in sizes for m in _METRICS}
    if "harmonic" in groups:
        keys.add("harmonic.miou")
        if protocol is None or set(protocol.vocabulary_classes) & set(protocol.groups["seen"]):
            keys.add("seen_bias")
    if protocol is None:
        return keys
    members = scored_groups(protocol)
    for key, kind in (("things_miou", "thing"), ("stuff_miou", "stuff")):
        keys |= {f"{g}.{key}" for g in groups if g in members and len(of_kind(protocol, members[g], kind))}
    return keys | {f"vc{n}.{m}" for n in protocol.windows for m in protocol.temporal_modes}


def _taxonomy_columns(
    groups: Sequence[str], sizes: Mapping[str, int], protocol: Protocol | None
) -> list[Column]:
    """Scores that the merged taxonomy gives: never beside mIoU without its name."""
    taxonomy = None if protocol is None else taxonomy_for(protocol)
    version = "taxonomy" if taxonomy is None else f"taxonomy v{taxonomy.version}"
    return [
        Column(f"{g}.{kind}_miou", f"{g} {kind} mIoU ({version})", interval=True)
        for kind in ("merged", "soft")
        for g in groups
        if g in sizes
    ]


def _change_columns(have: Iterable[str]) -> list[Column]:
    """Flicker and flow scores, as far as there are any."""
    flows = sorted({k.partition("-")[2] for k in have if k.startswith(tuple(f"{s}-" for s in FLOW_SCORES))})
    names = ["change_rate", "aba_rate", "excess_change", *(f"{s}-{b}" for b in flows for s in FLOW_SCORES)]
    return [Column(name, name.replace("_", " "), interval=True) for name in names]


def _groups(first: str, sizes: Mapping[str, int]) -> list[str]:
    """Groups in the order of their columns; one whose classes are those of another is left out."""
    generalised = bool(sizes.get("seen") and sizes.get("unseen"))
    wanted = [first, *(["harmonic"] if generalised else []), "unseen", "seen", "all"]
    wanted += [name for name in sizes if name not in wanted]
    if not generalised and sizes.get("unseen") == sizes["all"]:
        wanted = [name for name in wanted if name != "all" or first == "all"]
    if not generalised and sizes.get("seen") == sizes["all"]:
        wanted = [name for name in wanted if name != "seen" or first == "seen"]
    return [name for name in dict.fromkeys(wanted) if name in (first, "harmonic") or sizes.get(name)]


def _default(groups: Sequence[str], windows: Sequence[int]) -> list[Column]:
    main = "all" if groups[0] == "harmonic" else groups[0]
    columns = [_score(g, "miou", g in groups[:2] or g == "unseen") for g in groups]
    if "harmonic" in groups:
        columns.append(Column("seen_bias", "seen bias"))
        main = "unseen"
    else:
        columns += [_score(main, m, False) for m in ("fwiou", "macc", "pacc")]
    columns += [_score(main, m, False) for m in _KINDS]
    columns += [Column(f"vc{n}.correct", f"VC{n} correct", interval=n == windows[0]) for n in windows]
    return [*columns, Column(SPEED, "frames/s")]


def _all(groups: Sequence[str], sizes: Mapping[str, int], windows: Sequence[int]) -> list[Column]:
    columns = [_score(g, "miou", True) for g in groups]
    columns.append(Column("seen_bias", "seen bias"))
    for group in (g for g in groups if g in sizes):
        columns += [_score(group, m, True) for m in ("fwiou", "macc", "pacc")]
        columns += [_score(group, m, False) for m in _KINDS]
    columns += [Column(f"vc{n}.{m}", f"VC{n} {m}", interval=True) for n in windows for m in _MODES]
    return [*columns, Column(SPEED, "frames/s")]


def _score(group: str, metric: str, interval: bool) -> Column:
    if metric in _KINDS:
        return Column(f"{group}.{metric}", f"{group} {_KINDS[metric]}")
    return Column(f"{group}.{metric}", f"{group} {_METRICS[metric]}", interval=interval)
