"""Packing runs, and checking runs that somebody else has made: packed, unpacked or never packed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ovbench.core.errors import IncompleteError, IntegrityError, UserError
from ovbench.core.hashing import hash_json
from ovbench.core.types import RawMask
from ovbench.datasets.scan import natural
from ovbench.methods.labels import identity
from ovbench.store.masks import read_mask
from ovbench.store.pack import SUFFIX, Pack, check_folder, is_pack, name_in_pack, unpacked, write_pack
from ovbench.store.packread import MANIFEST
from ovbench.store.predictions import frames_on_disk
from ovbench.store.rundir import RunDir

from .export_place import new_file
from .find import open_runs
from .model import Run, required_protocol
from .names import method_name
from .verified import verify

_FROM_THE_KEY = {"weights_sha256": "weights", "untrained": "untrained", "id": "method", "variant": "variant"}
"""Facts about a method that its run key covers: name in the facts -> name in the key."""


@dataclass(frozen=True)
class Verdict:
    """A run whose scores follow from its counts. `label_maps` of it were hashed (None: none were saved)."""

    name: str
    run: Run
    label_maps: int | None

    @property
    def line(self) -> str:
        """One line for people."""
        about, scores = self.run.protocol, (self.run.summary or {}).get("scores", {})
        values = {g: (scores.get(g) or {}).get("miou") for g in ("harmonic", "unseen", "seen", "all")}
        shown = ", ".join(f"{group} {value:.1f}" for group, value in values.items() if value is not None)
        maps = "no label maps" if self.label_maps is None else f"{self.label_maps} label maps as counted"
        marks = [self.run.partial or "", "untrained" if self.run.method.get("untrained") else ""]
        extra = "".join(f", {mark.upper()}" for mark in marks if mark)
        what = f"{self.name} on {about['id']} v{about['version']}, {len(self.run.videos)} videos{extra}"
        return f"{self.run.path.name}: {what}; mIoU {shown}; {maps}"


def pack_runs(
    folders: Sequence[Path],
    out: Path,
    *,
    predictions: bool = False,
    protocol: str | None = None,
    force: bool = False,
) -> tuple[Pack, list[Verdict]]:
    """Check finished runs and write them into one archive.

    Args:
        folders: run folders, or folders that hold some.
        predictions: with the label maps, which every one of the runs must have saved.
        protocol: the user's own protocol file, where the runs were made with one.

    Raises:
        UserError: no runs, two of one name, no label maps, or `out` exists or is no .zip.
        IncompleteError: a run is not finished.
        IntegrityError: a run that `verify_run` refuses: it is not packed.
    """
    if out.suffix.lower() != SUFFIX:
        raise UserError(f"a pack is a {SUFFIX} file", where=out, hint=f"--out {out.with_suffix(SUFFIX).name}")
    verdicts = [verify_run(run, protocol) for run in _runs(folders)]
    paths: dict[str, Path] = {}
    for verdict in verdicts:
        name = name_in_pack(RunDir(verdict.run.path))
        if name in paths:
            raise UserError(
                f"two of the runs are called '{name}'",
                where=f"{paths[name]} and {verdict.run.path}",
                hint="rename one of the folders, or pack them apart",
            )
        if predictions and verdict.label_maps is None:
            raise UserError(
                "this run saved no label maps",
                where=verdict.run.path,
                hint="run it again with --save-predictions, or leave --with-predictions out",
            )
        paths[name] = verdict.run.path
    facts = {n: _facts(v.run, predictions) for n, v in zip(paths, verdicts, strict=True)}
    with new_file(out, force) as temporary:
        pack = write_pack(temporary, paths, facts, predictions)
    return pack, verdicts


def verify_path(path: Path, protocol: str | None = None) -> tuple[Pack | None, list[Verdict]]:
    """Check a pack, its unpacked form, a run folder, or a folder that holds any of these.

    Returns:
        What the pack says of itself (None without one), and a verdict per run.

    Raises:
        IntegrityError: a file is not the one that was packed, or a run is one that `verify_run` refuses.
        IncompleteError: a run is not finished.
        UserError: there is nothing here, or a run of a protocol that is not here.
    """
    if path.is_file() and not is_pack(path) and path.name not in ("summary.json", "manifest.json"):
        raise UserError("this is no pack and no run", where=path, hint=f"packs end in {SUFFIX}")
    folder = unpacked(path, again=True) if is_pack(path) else path
    pack = check_folder(folder) if (folder / MANIFEST).is_file() else None
    verdicts = [verify_run(run, protocol) for run in _runs([folder])]
    if pack is not None:
        by_folder = {v.run.path.name: v for v in verdicts}
        for name, stated in pack.runs.items():
            if name not in by_folder:
                raise IntegrityError(f"'{name}' holds no run", where=path)
            _compare(path, f"{MANIFEST} says of '{name}'", stated, _facts(by_folder[name].run, None))
    return pack, verdicts


def verify_run(run: Run, protocol: str | None = None) -> Verdict:
    """Check one finished run: its key, what it says of its method, its records, every score, its label maps.

    Raises:
        IntegrityError: naming what does not fit.
        UserError: its protocol is not here.
    """
    assert run.summary is not None
    _check_key(run)
    for what in ("method", "protocol"):
        _compare(run.path, f"summary.json says of the {what}", run.summary[what], run.manifest[what])
    rules = required_protocol(run.protocol, protocol, run.path, "verify")
    extra = sorted(RunDir(run.path).finished().difference(run.videos))
    if extra:
        raise IntegrityError(
            f"{len(extra)} records are of no video of this run, first: '{extra[0]}'", where=run.path
        )
    verify(run, rules)
    name = method_name(run.method, run.manifest.get("options", {}).get("given"))
    return Verdict(name, run, _check_label_maps(run))


def _runs(folders: Sequence[Path]) -> list[Run]:
    if not folders:
        raise UserError("which runs?", hint="name run folders, or folders that hold some")
    runs = open_runs(folders)
    for run in runs:
        if run.summary is None:
            raise IncompleteError(
                "this run is not finished", where=run.path, hint="give its command again, then come back"
            )
    return runs


def _facts(run: Run, predictions: bool | None) -> dict[str, Any]:
    """What a pack says about a run; None: without a word about label maps."""
    facts: dict[str, Any] = {
        "method": run.method["id"],
        "variant": run.method.get("variant", ""),
        "protocol": dict(run.protocol),
        "run_key": run.manifest["run_key"],
        "videos": len(run.videos),
        "partial": run.partial,
        "untrained": bool(run.method.get("untrained")),
    }
    return facts if predictions is None else {**facts, "label_maps": predictions}


def _check_key(run: Run) -> None:
    """The run key is the hash of its parts, and the manifest says nothing about the method that they do not."""
    manifest = run.manifest
    parts, key = manifest.get("key"), manifest.get("run_key")
    if not isinstance(parts, Mapping) or hash_json(parts) != key:
        raise IntegrityError(
            "the run key is not the hash of what the manifest says it was made from",
            where=run.path / "manifest.json",
            hint="somebody has edited the manifest",
        )
    stated = {name: parts.get(inner) for name, inner in _FROM_THE_KEY.items()}
    _compare(run.path, "the manifest says of the method", run.method, stated, subset=True)
    _compare(
        run.path,
        "the manifest says of the protocol",
        run.protocol,
        {"hash": parts.get("protocol")},
        subset=True,
    )
    if manifest.get("frames") != parts.get("frames"):
        raise IntegrityError("the manifest names another number of frames than its key", where=run.path)


def _compare(
    where: Path, what: str, stated: Mapping[str, Any], true: Mapping[str, Any], subset: bool = False
) -> None:
    names = true if subset else {*true, *stated}.difference(() if "label_maps" in true else ("label_maps",))
    for name in sorted(names):
        if stated.get(name) != true.get(name):
            raise IntegrityError(
                f"{what} that {name} is {str(stated.get(name))[:60]!r}; it is {str(true.get(name))[:60]!r}",
                where=where,
            )


def _check_label_maps(run: Run) -> int | None:
    """How many label maps were saved, after comparing their hash with the records'; None without any."""
    folder, total = RunDir(run.path), 0
    if not folder.predictions_path.is_dir():
        return None
    for record in folder.iterate(run.videos):
        frames = frames_on_disk(folder.predictions_path / record.video_id)
        digest = hashlib.sha256()
        for name in sorted(frames, key=natural):
            digest.update(identity(_label_map(frames[name])))
        if digest.hexdigest() != record.predictions_sha256:
            raise IntegrityError(
                f"the label maps of video '{record.video_id}' are not those that were counted",
                where=folder.predictions_path / record.video_id,
            )
        total += len(frames)
    return total


def _label_map(path: Path) -> RawMask:
    try:
        return read_mask(path)
    except UserError as error:
        raise IntegrityError(f"a saved label map is damaged: {error.what}", where=path) from error
