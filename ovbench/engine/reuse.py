"""`--from`: a wrapper takes the label maps that a run of its method has saved instead of computing them again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ovbench.core.errors import IncompleteError, IntegrityError, UserError
from ovbench.core.types import LabelMap
from ovbench.core.words import plural
from ovbench.datasets.base import Video, VideoView
from ovbench.methods.base import Segmenter
from ovbench.methods.labels import identity
from ovbench.methods.predictions import StoredPredictions, predictions_root
from ovbench.methods.select import Selection
from ovbench.methods.wrappers import SIGN, WRAPPERS
from ovbench.protocol.vocabulary import Vocabulary
from ovbench.store.predictions import frames_on_disk
from ovbench.store.rundir import RunDir

from .plan import Plan, make_plan

_NOT_THE_METHOD = ("flow", "flow_code")  # scores along a flow change no label map
_AGAIN = "make that run again, or leave --from out"


class SavedLabelMaps(Segmenter):
    """The label maps of a run, each video's checked against the hash in its record.

    Raises:
        IntegrityError: label maps that are not those that the run counted, damaged ones included.
        IncompleteError: label maps that are not there any more.
    """

    def __init__(self, folder: Path) -> None:
        self.run = RunDir(folder)
        self.stored = StoredPredictions(predictions_root(folder))

    def prepare(self, vocabulary: Vocabulary) -> None:
        super().prepare(vocabulary)
        self.stored.prepare(vocabulary)

    def segment(self, video: Video) -> Iterator[LabelMap]:
        digest = hashlib.sha256()
        try:
            for label_map in self.stored.segment(_Whole(video)):
                digest.update(identity(label_map))
                yield label_map
        except UserError as error:  # the run has written them, so this is nobody's wrong input
            raise IntegrityError(
                f"the saved label maps of video '{video.id}' are damaged: {error.what}",
                where=error.where,
                hint=_AGAIN,
            ) from error
        record = self.run.record(video.id)
        if record is None or record.predictions_sha256 != digest.hexdigest():
            raise IntegrityError(
                f"the saved label maps of video '{video.id}' are not those that the run has counted",
                where=self.run.predictions_path / video.id,
                hint=_AGAIN,
            )

    def facts(self) -> dict[str, Any]:
        """What the method said about itself in that run."""
        return dict(self.run.manifest().get("facts") or {})


class _Whole(VideoView):
    """The same video with every frame wanted: the hash of a record is over all of them."""

    def wanted(self, index: int) -> bool:
        return True


def reusing(selection: Selection, folder: Path, vocabulary: Vocabulary) -> Segmenter:
    """The wrapper of a selection around label maps on disk, prepared."""
    assert selection.wrapper is not None
    segmenter = selection.wrapper.wrap(SavedLabelMaps(folder), selection.options)
    segmenter.prepare(vocabulary)
    return segmenter


def check_source(plan: Plan, folder: Path) -> None:
    """Whether a run has saved the very label maps that the plan's wrapper would be given.

    Raises:
        UserError: the plan wraps nothing, or needs more than label maps; `folder` is no run with label maps, or
            one of another method, weights, options, protocol, code or data (what differs is named); the plan
            would write into it.
        IncompleteError: it lacks videos or frames.
    """
    selection = plan.selection
    if selection.wrapper is None:
        names = " or ".join(f"{selection.id}{SIGN}{name}" for name in WRAPPERS)
        raise UserError(
            f"--from hands label maps to a wrapper, and '{selection.id}' has none",
            where=folder,
            hint=f"run {names}; `ovbench score` scores label maps as they are",
        )
    selection.wrapper.stored(selection.options)
    check_apart(plan.out, folder)
    run = RunDir(folder)
    manifest = run.manifest()
    predictions_root(folder)
    inner = _inner(plan)
    differing = _differing(manifest.get("key", {}), inner.key_parts)
    if differing:
        what = f"these are not the label maps that '{inner.selection.id}' gives here"
        raise UserError(
            f"{what}; the runs differ in: {', '.join(differing)}",
            where=folder,
            hint=f"name a run of {inner.selection.id} with the same options, weights and code, or leave --from out",
        )
    _check_videos(plan, run)


def check_apart(out: Path, source: Path) -> None:
    """Raise `UserError` where a run would be written into what it reads, or around it: `--fresh` deletes there."""
    ours, theirs = out.expanduser().resolve(), source.expanduser().resolve()
    if ours == theirs:
        what = "this is where the label maps lie that are to be read"
    elif ours in theirs.parents:
        what = f"the label maps that are to be read lie inside this folder, in {source}"
    elif theirs in ours.parents:
        what = f"this lies inside what is to be read, {source}"
    else:
        return
    raise UserError(
        f"{what}: the run cannot be written here", where=out, hint="give another folder with --out"
    )


def _inner(plan: Plan) -> Plan:
    """The plan of the same run without the wrapper."""
    request, wrapper = plan.request, plan.selection.wrapper
    assert wrapper is not None
    settings = {k: v for k, v in request.settings.items() if k not in wrapper.options}
    method = request.method.replace(SIGN + wrapper.name, "")
    return make_plan(
        replace(request, method=method, settings=settings, label_maps=None, flow=(), out=None),
        protocol=plan.protocol,
    )


def _differing(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    keys = {*theirs, *ours}.difference(_NOT_THE_METHOD)
    return sorted(key for key in keys if theirs.get(key) != ours.get(key))


def _check_extent(plan: Plan, run: RunDir) -> None:
    """Raise `IncompleteError` where the source was asked for the first videos alone, and more of them are wanted."""
    theirs = list(run.manifest()["videos"])
    if len(theirs) < len(plan.video_ids) and theirs == list(plan.video_ids[: len(theirs)]):
        raise IncompleteError(
            f"this run is of the first {plural(len(theirs), 'video')} (--videos {len(theirs)}), and "
            f"{len(plan.video_ids)} are to be run",
            where=run.path,
            hint=f"give --videos {len(theirs)} here too, or make that run without --videos",
        )


def _check_videos(plan: Plan, run: RunDir) -> None:
    missing: list[str] = []
    _check_extent(plan, run)
    for video_id in plan.video_ids:
        record, video = run.record(video_id), plan.dataset.open(video_id)
        here = frames_on_disk(run.predictions_path / video_id)
        if record is None or any(name not in here for name in video.frame_names[: plan.request.frames]):
            missing.append(video_id)
        elif record.frames_sha256 != video.fingerprint(plan.request.frames):
            raise UserError(
                f"video '{video_id}' has changed on disk since these label maps were made",
                where=run.path,
                hint=_AGAIN,
            )
    if missing:
        raise IncompleteError(
            f"no complete label maps here for {len(missing)} of {plural(len(plan.video_ids), 'video')}, "
            f"first: '{missing[0]}'",
            where=run.path,
            hint="give the command of that run again, with --save-predictions: only what is missing is done",
        )
