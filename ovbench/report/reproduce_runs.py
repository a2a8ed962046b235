"""Which runs a reproduced table may use, and why it does not use others of the same methods."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ovbench.core.errors import UserError
from ovbench.core.words import plural
from ovbench.protocol.schema import Protocol

from .find import find
from .grouping import one_profile
from .model import Run, folder_of

_CLIP = "clip_weights"


@dataclass(frozen=True)
class Unused:
    """A run of one of the table's methods on its protocol that does not count. `told`: even where others do."""

    method: str
    path: Path
    reason: str
    told: bool = False


@dataclass(frozen=True)
class Collection:
    """`runs`: METHOD:VARIANT -> its runs, one for each weights file, all over the same videos."""

    runs: Mapping[str, Sequence[Run]]
    unused: tuple[Unused, ...]

    @property
    def all(self) -> list[Run]:
        """Every run that is used."""
        return [run for runs in self.runs.values() for run in runs]

    def first_unused(self, method: str) -> Unused | None:
        """The first run of a method that is not used."""
        return next((unused for unused in self.unused if unused.method == method), None)


def collect(
    methods: Sequence[str],
    protocol: Protocol,
    folders: Sequence[Path],
    otherwise: Sequence[Path] = (),
    profile: str | None = None,
) -> Collection:
    """The runs of `methods` in or below `folders`; of methods without any, those in or below `otherwise`.

    A run over other videos than most runs have is not used.

    Raises:
        UserError: runs of one method with different profiles, networks or training data, whose mean would
            mean nothing.
        IntegrityError: a manifest or summary is damaged.
    """
    found, unused = _usable(set(methods), protocol, folders)
    gaps = {*methods} - {name for name, _ in found}
    if gaps and otherwise:
        more, also = _usable(gaps, protocol, otherwise)
        found, unused = [*found, *more], [*unused, *also]
    kept = set(map(id, one_profile([run for _, run in found], profile) if found else ()))
    unused += [
        Unused(name, run.path, f"a run of profile '{run.profile}'")
        for name, run in found
        if id(run) not in kept
    ]
    found, apart = _over_the_same_videos([(name, run) for name, run in found if id(run) in kept])
    runs: dict[str, list[Run]] = {}
    for name, run in found:
        others = runs.setdefault(name, [])
        if others:
            _check_alike(name, others[0], run)
        if all(run.method.get("weights_sha256") != other.method.get("weights_sha256") for other in others):
            others.append(run)
    return Collection(runs, (*unused, *apart))


_Named = list[tuple[str, Run]]


def _usable(wanted: set[str], protocol: Protocol, folders: Sequence[Path]) -> tuple[_Named, list[Unused]]:
    found: _Named = []
    unused = []
    for path in sorted({p for folder in folders if folder.exists() for p in find(folder_of(folder))}):
        run = Run.open(path, unfinished=True)
        method = run.method
        name = f"{method['id']}:{method['variant']}" if method.get("variant") else str(method["id"])
        if name not in wanted or run.protocol["id"] != protocol.id:
            continue
        reason = _unusable(run, protocol)
        if reason is None:
            found.append((name, run))
        else:
            unused.append(Unused(name, path, reason))
    return found, unused


def _unusable(run: Run, protocol: Protocol) -> str | None:
    given = _by_hand(run)
    if run.protocol["hash"] != protocol.hash:
        return f"a run of another version of the protocol, v{run.protocol['version']}"
    if run.method.get("untrained"):
        return "an untrained run, whose numbers mean nothing"
    if given:
        return "a run with options set by hand"
    if run.partial is not None:
        return f"a partial run: {run.partial}"
    return None if run.complete else "a run that is not finished"


def _by_hand(run: Run) -> list[str]:
    """Options set by hand, but for CLIP's file: weights, without which some files are not whole."""
    return [key for key in (run.manifest.get("options") or {}).get("given") or {} if key != _CLIP]


def _over_the_same_videos(found: _Named) -> tuple[_Named, list[Unused]]:
    """Runs over the videos that most runs have (among equals: more videos), and the others."""
    counted = Counter(frozenset(run.videos) for _, run in found)
    if len(counted) < 2:
        return found, []
    usual = max(counted, key=lambda videos: (counted[videos], len(videos), sorted(videos)))
    apart = [
        Unused(name, run.path, "a run over other videos than most: " + _how(run, usual), told=True)
        for name, run in found
        if {*run.videos} != usual
    ]
    return [(name, run) for name, run in found if {*run.videos} == usual], apart


def _how(run: Run, usual: frozenset[str]) -> str:
    own = {*run.videos}
    lacks, extra = sorted(usual - own), sorted(own - usual)
    parts = [
        f"{words} {plural(len(names), 'video')} such as '{names[0]}'"
        for words, names in (("without", lacks), ("with also", extra))
        if names
    ]
    return " and ".join(parts)


def _check_alike(method: str, first: Run, second: Run) -> None:
    """Raise `UserError` unless two runs are of one network with two trainings, as far as manifests say."""
    for what, one, other in zip(_FACTS, _facts(first), _facts(second), strict=True):
        if one != other:
            raise UserError(
                f"runs of {method} differ in {what}: these are no training seeds, and their mean would mean nothing",
                where=f"{first.path} and {second.path}",
                hint="name the folders of one kind: ovbench reproduce TABLE RUN_DIR...",
            )


_FACTS = ("the data that they were trained on", "the network", "CLIP's weights")


def _facts(run: Run) -> Iterator[object]:
    told = run.manifest.get("facts") or {}
    yield run.method.get("trained_on")
    yield told.get("config")
    yield told.get("clip_weights")
