"""Packing runs, and checking runs that somebody else has made: packed, unpacked or never packed."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ovbench.core.errors import IncompleteError, IntegrityError, OvbenchError, UserError
from ovbench.core.types import RawMask
from ovbench.core.words import plural
from ovbench.datasets.scan import natural
from ovbench.methods.labels import hash_of
from ovbench.protocol.load import protocol_ids
from ovbench.protocol.schema import Protocol
from ovbench.store.masks import read_mask
from ovbench.store.pack import SUFFIX, Pack, check_folder, is_pack, name_in_pack, unpacked, write_pack
from ovbench.store.packread import AGAIN, MANIFEST
from ovbench.store.predictions import frames_on_disk
from ovbench.store.rundir import RunDir

from .export_place import new_file
from .extent import check_extent, check_frames, unlisted
from .find import open_runs
from .model import Run, installed_protocol, required_protocol
from .names import method_name
from .stated import agree, check_key, check_statements
from .verified import verify


@dataclass(frozen=True)
class Verdict:
    """A run whose scores follow from its counts. `label_maps` of it were hashed (None: none were saved).

    `notes`: what could not be checked here. `left_out`: its label maps were checked, but are not packed.
    """

    name: str
    run: Run
    label_maps: int | None
    notes: tuple[str, ...] = ()
    left_out: bool = False

    @property
    def line(self) -> str:
        """One line for people."""
        about, scores = self.run.protocol, (self.run.summary or {}).get("scores", {})
        values = {g: (scores.get(g) or {}).get("miou") for g in ("harmonic", "unseen", "seen", "all")}
        shown = ", ".join(f"{group} {value:.1f}" for group, value in values.items() if value is not None)
        maps = "no label maps" if self.label_maps is None else plural(self.label_maps, "label map")
        if self.label_maps is not None:
            maps += " not packed (--with-predictions packs them)" if self.left_out else " as counted"
        marks = [self.run.partial or "", "untrained" if self.run.method.get("untrained") else ""]
        extra = "".join(f", {mark.upper()}" for mark in marks if mark)
        what = f"{self.name} on {about['id']} v{about['version']}, {plural(len(self.run.videos), 'video')}{extra}"
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
    return pack, [replace(v, left_out=not predictions and v.label_maps is not None) for v in verdicts]


def verify_path(
    path: Path, protocol: str | None = None, data_root: Path | None = None
) -> tuple[Pack | None, list[Verdict]]:
    """Check a pack, its unpacked form, a run folder, or a folder that holds any of these.

    Args:
        data_root: the data set, for the list of videos of protocols that take all there are; no image is read.

    Returns:
        What the pack says of itself (None without one), and a verdict per run.

    Raises:
        IntegrityError: a file is not the one that was packed, or a run is one that `verify_run` refuses; nothing
            is left unpacked then.
        IncompleteError: a run is not finished.
        UserError: there is nothing here, or a run of a protocol that is not here.
    """
    if path.is_file() and not is_pack(path) and path.name not in ("summary.json", "manifest.json"):
        raise UserError("this is no pack and no run", where=path, hint=f"packs end in {SUFFIX}")
    folders: dict[Path, Path] = {}  # unpacked -> archive
    try:
        for archive in _archives(path):
            folders.setdefault(unpacked(archive, again=True), archive)
        folder = next(iter(folders)) if is_pack(path) else path
        packs = {f: check_folder(f) for f in (folder, *folders) if (f / MANIFEST).is_file()}
        verdicts = [verify_run(run, protocol, data_root) for run in _runs([folder])]
        for top, pack in packs.items():
            _check_stated(top, pack, verdicts)
    except OvbenchError as error:
        for left in folders:
            shutil.rmtree(left, ignore_errors=True)
        raise _of_archive(error, folders) from error
    return packs.get(folder), verdicts


def verify_run(run: Run, protocol: str | None = None, data_root: Path | None = None) -> Verdict:
    """Check one finished run: its key, what it says of itself, its videos, records, every score, its label maps.

    Raises:
        IntegrityError: naming what does not fit.
        UserError: its protocol is not here.
    """
    assert run.summary is not None
    for what in ("method", "protocol"):
        _compare(
            run.path, f"summary.json says of the {what}", run.summary.get(what) or {}, run.manifest[what]
        )
    check_key(run)
    rules = _protocol(run, protocol)
    unchecked = check_statements(run, rules)
    check_extent(run, rules, data_root)
    extra = sorted(RunDir(run.path).finished().difference(run.videos))
    if extra:
        raise IntegrityError(
            f"{len(extra)} records are of no video of this run, first: '{extra[0]}'", where=run.path
        )
    verify(run, rules)
    check_frames(run, rules, data_root)
    maps = _check_label_maps(run)
    notes = (unchecked, unlisted(run, rules, data_root))
    name = method_name(run.method, (run.manifest.get("options") or {}).get("given"))
    return Verdict(name, run, maps, tuple(note for note in notes if note))


def _archives(path: Path) -> list[Path]:
    """The packs that a path means: itself, or those below it."""
    if not path.is_dir():
        return [path] if is_pack(path) else []
    return sorted(p for p in path.rglob(f"*{SUFFIX}") if is_pack(p))


def _of_archive(error: OvbenchError, folders: Mapping[Path, Path]) -> OvbenchError:
    """An error in something unpacked as one of the archive that it comes from."""
    for folder, archive in folders.items():
        if error.where is not None and Path(error.where).is_relative_to(folder):
            member = Path(error.where).relative_to(folder).as_posix()
            where = str(archive) if member == "." else f"{archive}: {member}"
            hint = AGAIN if isinstance(error, IntegrityError) else error.hint
            return type(error)(error.what, where=where, hint=hint)
    return error


def _check_stated(folder: Path, pack: Pack, verdicts: Sequence[Verdict]) -> None:
    """That the runs are those that `pack.json` names, and what it says of them."""
    by_name = {v.run.path.name: v for v in verdicts if v.run.path.parent == folder}
    for name, stated in pack.runs.items():
        if name not in by_name:
            raise IntegrityError(f"'{name}' holds no run", where=folder)
        true = _facts(by_name[name].run, by_name[name].label_maps is not None)
        _compare(folder, f"{MANIFEST} says of '{name}'", stated, true)


def _protocol(run: Run, path: str | None) -> Protocol:
    """The run's protocol; `IntegrityError` where it has the hash of another one that is here."""
    if path is None and str(run.protocol["id"]) not in protocol_ids():
        for known in protocol_ids():
            if installed_protocol({"id": known, "hash": run.protocol["hash"]}) is not None:
                raise IntegrityError(
                    f"the manifest says of the protocol that id is {str(run.protocol['id'])[:60]!r}; "
                    f"its hash is that of '{known}'",
                    where=run.path / "manifest.json",
                )
    return required_protocol(run.protocol, path, run.path, "verify")


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


def _facts(run: Run, predictions: bool) -> dict[str, Any]:
    """What a pack says about a run."""
    return {
        "method": run.method["id"],
        "variant": run.method.get("variant", ""),
        "protocol": dict(run.protocol),
        "run_key": run.manifest["run_key"],
        "videos": len(run.videos),
        "partial": run.partial,
        "untrained": bool(run.method.get("untrained")),
        "label_maps": predictions,
    }


def _compare(where: Path, what: str, stated: Mapping[str, Any], true: Mapping[str, Any]) -> None:
    """Raise `IntegrityError` unless both say the same, and neither says more."""
    agree(where, what, stated, {**dict.fromkeys(stated), **true})


def _check_label_maps(run: Run) -> int | None:
    """How many label maps were saved, after comparing their hash with the records'; None without any."""
    folder, total = RunDir(run.path), 0
    if not folder.predictions_path.is_dir():
        return None
    extra = sorted({p.name for p in folder.predictions_path.iterdir()}.difference(run.videos))
    if extra:
        raise IntegrityError(
            f"label maps of no video of this run: '{extra[0]}'", where=folder.predictions_path / extra[0]
        )
    for record in folder.iterate(run.videos):
        below = folder.predictions_path / record.video_id
        frames = frames_on_disk(below)
        files = [*below.iterdir()] if below.is_dir() else []
        for path in files:
            if path.is_symlink() or path not in frames.values():
                raise IntegrityError("this is no label map of ours", where=path)
        maps = (_label_map(frames[name]) for name in sorted(frames, key=natural))
        if hash_of(maps) != record.predictions_sha256:
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
