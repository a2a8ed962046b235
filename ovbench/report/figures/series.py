"""What figures are drawn from: runs that may stand together, as entries with a name, a colour and a marker."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from ovbench.core.errors import IncompleteError, UserError, unknown
from ovbench.metrics.groups import Classes, scored_groups
from ovbench.protocol.schema import Protocol
from ovbench.report.columns import headline_key
from ovbench.report.find import grouped
from ovbench.report.grouping import one_profile
from ovbench.report.model import Cell, Run, required_protocol
from ovbench.report.names import labelled, names_of, seed_groups
from ovbench.report.values import mean_cells, mean_sample, run_cells
from ovbench.report.verified import verify
from ovbench.stats.bootstrap import Sample
from ovbench.store.rundir import RunDir

from .style import COLOURS, GREY, MARKERS

if TYPE_CHECKING:
    from . import Options

_FIRST = ("ov2vss", "san", "zegformer", "freeseg", "deop", "zsseg", "sam-clip", "maskclip")
"""Methods whose colour is the same in every figure, in the order of the palette."""


@dataclass(frozen=True, eq=False)
class Entry:
    """One method (several training seeds of it) and how it is drawn; `wrapper`: "vote" of a twin "+vote", else ""."""

    name: str
    runs: tuple[Run, ...]
    protocol: Protocol
    colour: str
    marker: str
    wrapper: str
    control: bool

    @cached_property
    def cells(self) -> Mapping[str, Cell]:
        """Scores by key; of several seeds their mean, with the interval over videos."""
        return run_cells(self.runs[0]) if len(self.runs) == 1 else mean_cells(self.runs, self.protocol)

    @cached_property
    def sample(self) -> Sample:
        """Per-video sums under the protocol's convention; of several seeds with the mean of their scores."""
        return mean_sample([run.sample(self.protocol) for run in self.runs])

    def cell(self, key: str) -> Cell:
        """A score; an empty cell where the method has none."""
        return self.cells.get(key, Cell())

    def value(self, key: str) -> float:
        """A score in percent; NaN where the method has none."""
        found = self.cell(key).value
        return math.nan if found is None else found


@dataclass(frozen=True)
class Board:
    """The entries of a figure, in the order their runs were given, and what they have in common."""

    protocol: Protocol
    entries: tuple[Entry, ...]
    headline: str
    partial: str | None
    videos: int

    def shown(self, options: Options, limit: int | None = None) -> tuple[list[Entry], str]:
        """The entries a figure has room for, the best by the headline first, and what the note says of the others.

        Without control rows, unless they were asked for or there is nothing else.
        """
        methods = [e for e in self.entries if not e.control]
        entries = list(self.entries) if options.controls or not methods else methods
        entries.sort(key=lambda e: (e.control, -_low_last(e.value(self.headline)), e.name))
        room = options.limit or limit
        if room is None or len(entries) <= room:
            return entries, ""
        first: dict[str, Entry] = {}
        for e in entries:
            first.setdefault(str(e.runs[0].method["id"]).partition("+")[0], e)
        # twins and variants of one method would fill the figure, and say little about the others
        kept = [*first.values(), *(e for e in entries if e not in first.values())][:room]
        kept.sort(key=entries.index)
        apart = "" if len(first) == len(entries) else ", one of each method first"
        return kept, f"The best {room} of {len(entries)} by {score_title(self.headline)}{apart}."

    def classes(self, options: Options) -> tuple[str, Classes]:
        """Name of the group asked for, and the indices of its classes.

        Raises:
            UserError: no such group, or one without a scored class.
        """
        groups = scored_groups(self.protocol)
        name = options.group
        if name == "auto":
            name = "unseen" if len(groups["unseen"]) else "all"
        if name not in groups:
            raise unknown("group of classes", name, groups)
        if not len(groups[name]):
            raise UserError(f"group '{name}' of protocol '{self.protocol.id}' has no scored class")
        return name, groups[name]

    def note(self, *sentences: str) -> str:
        """Small print: sentences, then where the numbers come from."""
        p = self.protocol
        source = f"{p.id} v{p.version} {p.hash[:10]}, {p.convention}, {self.videos} video{'s'[: self.videos != 1]}."
        seeds = sorted({len(e.runs) for e in self.entries if len(e.runs) > 1})
        mean = (
            f"Means of {' or '.join(map(str, seeds))} training seeds where there are several."
            if seeds
            else ""
        )
        partial = f"PARTIAL: {self.partial}." if self.partial else ""
        return " ".join(s for s in (*sentences, mean, source, partial) if s)


def intervals_said(
    entries: Sequence[Entry], *keys: str, text: str = "Lines: 95 % intervals over videos."
) -> str:
    """What the small print says of intervals: nothing where none is drawn."""
    return text * any(e.cell(key).low is not None for e in entries for key in keys)


def prepare(runs: Sequence[Run], options: Options) -> Board:
    """Runs sorted into entries; every summary is checked against its records.

    Raises:
        UserError: runs of several protocols, versions, video sets, limits, or profiles of one method, or a protocol
            that is not here.
        IncompleteError: an unfinished run.
        IntegrityError: the summary of a run is not what its records give.
    """
    for run in runs:
        if not run.complete:
            raise IncompleteError(
                "a figure needs finished runs, and this one is not",
                where=run.path,
                hint="give its command again: it does what is missing",
            )
    runs = one_profile(runs, options.profile)
    groups = grouped(runs, partial=True)
    if len(groups) > 1:
        a, b = (g.runs[0] for g in groups[:2])
        raise UserError(
            "these runs do not belong in one figure: "
            + (
                f"they are of the protocols '{a.protocol['id']}' and '{b.protocol['id']}'"
                if a.protocol["id"] != b.protocol["id"]
                else "they are limited to different videos or frames"
            ),
            where=f"{a.path} and {b.path}",
            hint="name runs of one protocol over the same videos",
        )
    protocol = required_protocol(groups[0].runs[0].protocol, options.protocol, runs[0].path, "a figure")
    for run in runs:
        verify_once(run, protocol)
    entries = entries_of(runs, protocol, options)
    assert runs[0].summary is not None
    headline = options.score or headline_key(protocol, runs[0].summary["scores"])
    known = [k for k in entries[0].cells if k.partition(".")[0] in ("all", "harmonic", *protocol.groups)]
    if headline not in known:
        raise unknown("score", headline, known)
    return Board(protocol, tuple(entries), headline, groups[0].partial, len(runs[0].videos))


_VERIFIED: set[tuple[str, int, str]] = set()
"""Runs that need no second look in this process: a page draws many figures of the same ones."""


def verify_once(run: Run, protocol: Protocol) -> None:
    """`verify`, unless this very summary has been verified before."""
    key = (str(run.path.resolve()), RunDir(run.path).summary_path.stat().st_mtime_ns, protocol.hash)
    if key not in _VERIFIED:
        verify(run, protocol)
        _VERIFIED.add(key)


def entries_of(runs: Sequence[Run], protocol: Protocol, options: Options) -> list[Entry]:
    """Entries with names as tables have them and "(untrained)" where that is so, in the order of their first runs."""
    if options.seeds not in ("mean", "each"):
        raise unknown("way with training seeds", options.seeds, ("mean", "each"))
    names = names_of(runs)
    groups = [(n, (r,)) for n, r in zip(names, runs, strict=True)]
    if options.seeds == "mean":
        groups = seed_groups(runs, names)  # type: ignore[assignment]
    place = {id(run): i for i, run in enumerate(runs)}
    groups.sort(key=lambda group: min(place[id(r)] for r in group[1]))
    styles = looks([members for _, members in groups])
    return [
        Entry(
            labelled(name, members[0]),
            members,
            protocol,
            *look,
            control=members[0].method.get("kind") == "control",
        )
        for (name, members), look in zip(groups, styles, strict=True)
    ]


def looks(groups: Sequence[tuple[Run, ...]]) -> list[tuple[str, str, str]]:
    """Colour, marker and wrapper of each entry: a wrapped method looks like its inner one, but not filled.

    Known methods keep their colour from figure to figure. Variants of one method take colours that are free, the
    one without hand-set options and with most seeds the method's own; where none is free they have the method's own
    too, and only markers differ.
    """
    bases = [_base(members[0]) for members in groups]
    wanted = sorted(range(len(groups)), key=lambda i: (bool(_given(groups[i][0])), -len(groups[i]), i))
    colours: dict[str, str] = {}
    for i in wanted:
        method = str(groups[i][0].method["id"]).partition("+")[0]
        if groups[i][0].method.get("kind") == "control":
            colours.setdefault(bases[i], GREY)
        elif method in _FIRST and COLOURS[_FIRST.index(method)] not in colours.values():
            colours.setdefault(bases[i], COLOURS[_FIRST.index(method)])
    for i in wanted:
        free = [c for c in COLOURS if c not in colours.values()]
        method = str(groups[i][0].method["id"]).partition("+")[0]
        taken = COLOURS[(_FIRST.index(method) if method in _FIRST else len(colours)) % len(COLOURS)]
        colours.setdefault(bases[i], free[-1] if free else taken)
    # control rows last: there are fewer markers than rows of a long table
    order = list(
        dict.fromkeys(bases[i] for i in sorted(range(len(bases)), key=lambda i: colours[bases[i]] == GREY))
    )
    return [
        (
            colours[base],
            MARKERS[order.index(base) % len(MARKERS)],
            str(members[0].method["id"]).partition("+")[2],
        )
        for base, members in zip(bases, groups, strict=True)
    ]


def _given(run: Run) -> list[tuple[str, object]]:
    """Options set by hand."""
    return sorted(((run.manifest.get("options") or {}).get("given") or {}).items())


def _base(run: Run) -> str:
    """What a wrapped run and its inner one share; different options of one method are different things."""
    return f"{str(run.method['id']).partition('+')[0]}:{run.method.get('variant')}:{_given(run)}"


def _low_last(value: float) -> float:
    return -math.inf if math.isnan(value) else value


_METRICS = {"miou": "mIoU", "fwiou": "fwIoU", "macc": "mean accuracy", "pacc": "pixel accuracy"}


def score_title(key: str, unit: bool = False) -> str:
    """A score as an axis says it: "unseen mIoU (%)" for "unseen.miou"."""
    group, _, metric = key.partition(".")
    found = f"{group} {_METRICS.get(metric, metric.replace('_', ' '))}".strip()
    return f"{found} (%)" if unit else found
