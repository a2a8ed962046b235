"""Run or score: video by video, resumable at any moment, with a summary that depends on the records alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ovbench.core.errors import IncompleteError, UserError
from ovbench.core.words import plural
from ovbench.datasets.open import open_dataset
from ovbench.flow.open import parse_all
from ovbench.methods.predictions import check_and_hash, checked_name, default_name, predictions_root
from ovbench.methods.select import select
from ovbench.methods.stored.open import open_source
from ovbench.metrics.score import summarize
from ovbench.protocol.load import load_protocol
from ovbench.protocol.schema import Protocol
from ovbench.store.lock import only_writer
from ovbench.store.rundir import RunDir

from . import manifest
from .plan import Plan, Request, make_plan
from .pool import process_videos
from .progress import Progress, note
from .records import CountedVideo, read_records
from .reuse import check_apart, check_source
from .takeup import Found, look, missing_folders, remove_empty, withdraw
from .timing import timing_report
from .worker import DiskFull, Work, disk_full_is_named


def run(request: Request) -> Path:
    """Segment and score a protocol's videos; the path of `summary.json` is returned.

    A folder that holds the same run is taken up: only videos without a record are done.

    Raises:
        UserError: something asked for is wrong, or a video cannot be segmented or counted.
        IncompleteError: the disk is full; finished videos are kept. Or label maps that are to be reused lack some.
        IntegrityError: records of another run, or damaged ones; reused label maps that are not what was counted.
    """
    if request.method.partition(":")[0] == "predictions":
        return _score(request)
    plan = make_plan(request)
    if request.label_maps is not None:
        check_source(plan, request.label_maps)
    return execute(plan)


def score(
    predictions: str | Path,
    protocol: str,
    *,
    data_root: Path | None = None,
    jobs: int | None = None,
    out: Path | None = None,
    videos: int | None = None,
    frames: int | None = None,
    fresh: bool = False,
    flow: tuple[str, ...] = (),
    name: str | None = None,
    save_predictions: bool = False,
    command: tuple[str, ...] = (),
) -> Path:
    """Score label maps on disk, in any form that `ovbench.methods.stored` reads.

    Photographs are opened for `flow` only. The counts are the same integers as those of the run that
    saved the label maps.

    Args:
        name: what tables call these label maps, as in "predictions (NAME)"; default: the name of their
            folder or file, or of the method whose run saved them.
        save_predictions: keep copies of the label maps in the run folder, as positions in the vocabulary.

    Raises:
        IncompleteError: missing videos or frames; nothing is written.
        UserError: videos or frames that the protocol does not have; photographs that `flow` needs are absent;
            `out` is where the label maps lie, inside it or around it.
    """
    return _score(
        Request(
            method="predictions",
            protocol=protocol,
            data_root=data_root,
            settings={"folder": str(predictions)},
            jobs=jobs,
            out=out,
            videos=videos,
            frames=frames,
            fresh=fresh,
            flow=flow,
            name=name,
            save_predictions=save_predictions,
            command=command,
        )
    )


def _score(request: Request) -> Path:
    protocol = load_protocol(request.protocol)
    asked = select(request.method, request.variant, request.settings, protocol=protocol)
    if not asked.options["folder"]:
        raise UserError("'predictions' needs a folder of label maps", hint="--set folder=DIR")
    name = None if request.name is None else checked_name(request.name)
    folder = predictions_root(Path(asked.options["folder"]))
    if request.out is not None:
        check_apart(request.out, folder)
    _check_vocabulary(folder, protocol)
    dataset = open_dataset(protocol, request.data_root, need_images=False)
    chosen = tuple(dataset.video_ids)[: request.videos]
    need_images = any(f.needs_images for f in parse_all(request.flow))
    if need_images:
        _check_photographs(request, protocol, chosen)
    stored = open_source(folder, protocol.vocabulary, dataset.video_ids)
    with Progress("check of the label maps", len(chosen)) as progress:
        source = check_and_hash(stored, dataset, chosen, request.frames, progress.advance)
    settings = {**request.settings, "folder": str(folder)}
    plan = make_plan(
        replace(request, settings=settings, need_images=need_images, name=name or default_name(folder)),
        source,
        protocol,
    )
    check_apart(plan.out, folder)
    return execute(plan)


def _check_photographs(request: Request, protocol: Protocol, video_ids: Sequence[str]) -> None:
    """Scoring needs no photographs, flow does."""
    try:
        dataset = open_dataset(protocol, request.data_root)
        for video_id in video_ids:
            dataset.open(video_id)
    except UserError as error:
        raise UserError(
            f"--flow looks at the photographs, and they are not all here: {error.what}",
            where=error.where,
            hint="score without --flow, which needs none, or give flow from disk: --flow files=DIR",
        ) from error


def _check_vocabulary(folder: Path, protocol: Protocol) -> None:
    """Label maps that a run of ours saved say which vocabulary their numbers mean."""
    directory = RunDir(folder.parent)
    if folder.name != "predictions" or not directory.has_manifest():
        return
    manifest = directory.manifest()
    if manifest.get("key", {}).get("vocabulary") not in (None, protocol.vocabulary.hash):
        theirs = manifest["protocol"]["id"]
        same = theirs == protocol.id
        raise UserError(
            f"these label maps were made with another vocabulary, that of "
            f"{'another version of ' if same else ''}'{theirs}': their numbers mean other classes "
            f"{'now' if same else f'than in {protocol.id!r}'}",
            where=folder,
            hint="run the method again with this version of the protocol"
            if same
            else f"score them with --protocol {theirs}",
        )


def execute(plan: Plan) -> Path:
    """Carry out a plan while holding the lock of its folder.

    A run that a mistake of the user ends before its first record leaves nothing behind.
    """
    directory, missing = RunDir(plan.out), missing_folders(plan.out)
    try:
        with disk_full_is_named(), only_writer(plan.out):
            new = not directory.has_manifest() and not directory.finished()
            try:
                return _execute(directory, plan)
            except UserError:
                if new and not directory.finished():
                    withdraw(directory, made=plan.out in missing)
                raise
    except UserError:
        remove_empty(missing)
        raise


def _execute(directory: RunDir, plan: Plan) -> Path:
    found = _prepare(directory, plan)
    state = _State(finished=set(found.finished))
    try:
        _work(directory, plan, state, found)
        with disk_full_is_named():
            return _finish(directory, plan, state)
    except DiskFull as error:
        raise IncompleteError(
            f"{error.what}; {found.safe(directory, plan)} of "
            f"{plural(len(plan.video_ids), 'video is', 'videos are')} finished and safe",
            where=error.where,
            hint="make room and run the same command again: it goes on where it stopped",
        ) from error
    except BaseException:
        if safe := found.safe(directory, plan):
            note(
                f"{safe} of {plural(len(plan.video_ids), 'video is', 'videos are')} finished and kept in {plan.out}"
            )
        raise
    finally:
        directory.sweep()  # stopped workers may leave hidden files


@dataclass
class _State:
    """What is known while a run goes on."""

    finished: set[str]
    peak_mib: float | None = None
    peak_gpu_mib: float | None = None


def _prepare(directory: RunDir, plan: Plan) -> Found:
    directory.sweep()
    ours = directory.has_manifest() or bool(directory.finished())
    cleared = plan.request.fresh and ours
    if cleared:
        directory.clear()
    old = manifest.check(directory, plan, cleared=cleared)
    found = look(directory, plan)
    manifest.begin(directory, plan, old)
    return found


def _work(directory: RunDir, plan: Plan, state: _State, found: Found) -> None:
    left = [v for v in plan.video_ids if v not in state.finished]
    if not left:
        return
    if any(v not in found.again for v in left):
        directory.forget_results()  # of fewer videos than the manifest now lists
    # Otherwise the old summary fits the old records until a worker replaces one of them, and drops it then.
    label = f"{plan.selection.id} on {plan.protocol.id}"

    def keep(facts: Mapping[str, Any]) -> None:
        manifest.add_facts(directory, facts)

    with (
        Progress(label, len(plan.video_ids), len(state.finished)) as progress,
        closing(
            process_videos(
                _orders(plan), left, min(plan.jobs, len(left)), keep, plan.dataset.frame_count, plan.protocol
            )
        ) as outcomes,
    ):
        for outcome in outcomes:
            state.finished.add(outcome.video_id)
            state.peak_mib = _larger(state.peak_mib, outcome.peak_memory_mib)
            state.peak_gpu_mib = _larger(state.peak_gpu_mib, outcome.peak_gpu_mib)
            progress.advance(outcome.video_id, outcome.frames)


def _finish(directory: RunDir, plan: Plan, state: _State) -> Path:
    videos = read_records(directory, plan.video_ids)
    if state.peak_mib is not None or directory.timing() is None:
        directory.write_timing(timing_report(plan, videos, state.peak_mib, state.peak_gpu_mib))
    summary = summarize(
        plan.protocol,
        videos,
        manifest.method_facts(plan),
        partial=plan.partial,
        expected_videos=plan.video_ids,
    )
    directory.write_summary(summary)
    _note_pairs(plan, videos)
    return directory.summary_path


def _note_pairs(plan: Plan, videos: Sequence[CountedVideo]) -> None:
    """Say so where frames without a label map cost the flow scores pairs."""
    there_are = sum(max(0, v.counts.frames - 1) for v in videos)
    for spec in plan.flow:
        counted = sum(len(v.counts.flow[spec.name].pairs) for v in videos)
        if counted < there_are:
            note(
                f"flow '{spec.name}': {counted} of {there_are} pairs of neighbouring frames are compared; "
                "the others lack a label map"
            )


def _orders(plan: Plan) -> Work:
    request = plan.request
    return Work(
        protocol=request.protocol,
        protocol_hash=plan.protocol.hash,
        selection=plan.selection,
        data_root=request.data_root,
        device=plan.device,
        frames=request.frames,
        threads=request.threads,
        out=plan.out,
        run_key=plan.run_key,
        save_predictions=request.save_predictions,
        need_images=request.need_images,
        label_maps=request.label_maps,
        flow=plan.flow,
        flow_device=plan.flow_device,
        overlap=plan.overlap,
    )


def _larger(a: float | None, b: float | None) -> float | None:
    return max((x for x in (a, b) if x is not None), default=None)
