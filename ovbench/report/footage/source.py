"""One video with its truth and the label maps that runs have saved of it, frame by frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ovbench.core.errors import IncompleteError, IntegrityError, UserError, unknown
from ovbench.core.types import Image, LabelMap
from ovbench.datasets.base import Dataset, Video
from ovbench.datasets.open import open_dataset
from ovbench.methods.labels import hash_of, narrow, outside
from ovbench.methods.predictions import default_name, predictions_root
from ovbench.methods.stored.open import open_source
from ovbench.methods.stored.source import Source, place
from ovbench.protocol.schema import Protocol
from ovbench.store.rundir import RunDir

from ..model import Run
from ..names import labelled, names_of
from .colours import Classes, predicted_classes, truth_classes

_NAMED = 5  # frames that a message lists
_AGAIN = "give the run's command again with --save-predictions: only what is missing is done"


@dataclass(frozen=True)
class Scored:
    """What a run's record says of its label maps: of how many frames, and their hash ("" in old records)."""

    frames: int
    sha256: str
    sparse: bool = False  # label maps from elsewhere, which need not be there for frames without truth


@dataclass(frozen=True)
class Footage:
    """A video, and what runs said about it. Frames are numbered 0..len-1.

    Attributes:
        names: one per run, as tables call them.
        frame_names: of the frames that the runs were asked for (fewer than the video has for --frames N).
    """

    protocol: Protocol
    video: Video
    names: tuple[str, ...]
    frame_names: tuple[str, ...]
    _sources: tuple[Source, ...]
    _scored: tuple[Scored | None, ...]  # what each run has counted; None for label maps that belong to no run

    def __len__(self) -> int:
        return len(self.frame_names)

    @property
    def video_id(self) -> str:
        return self.video.id

    def image(self, index: int) -> Image:
        """(H, W, 3) uint8 RGB."""
        return self.video.image(index)

    def truth(self, index: int) -> Classes | None:
        """(H, W) int16 class indices, VOID where nothing is evaluated; None for a frame without a mask."""
        if not self.video.annotated(index):
            return None
        return truth_classes(self.video.truth(index), self.protocol)

    def has_label_map(self, run: int, index: int) -> bool:
        """Whether run number `run` kept a label map of the frame; nothing is read."""
        return self.frame_names[index] in self._sources[run].frames(self.video_id, self.video.frame_names)

    def label_map(self, run: int, index: int) -> Classes | None:
        """(H, W) int16 class indices of run number `run`, OTHER where it abstained; None where it has none.

        Raises:
            UserError: the file is damaged, or holds a label outside the vocabulary.
        """
        found = self._stored(run, index)
        return None if found is None else predicted_classes(found, self.protocol)

    def check(self) -> None:
        """Read every label map that a run has scored, and hold it against the run's record.

        Whoever shows what a run said calls this first: a picture beside a score has to be of what was scored.
        Label maps that belong to no run have no record to be held against.

        Raises:
            IncompleteError: a run has scored a frame whose label map is not here.
            IntegrityError: somebody has changed them since.
            UserError: see `label_map`.
        """
        for run, scored in enumerate(self._scored):
            if scored is not None:
                self._check(run, scored)

    def _check(self, run: int, scored: Scored) -> None:
        names = self.video.frame_names[: scored.frames]
        if len(names) < scored.frames:
            raise IntegrityError(
                f"the run has scored {scored.frames} frames of video '{self.video_id}', which has {len(names)} here",
                where=self._sources[run].path,
                hint="use the data that the run was made with: --data-root DIR",
            )
        there = self._sources[run].frames(self.video_id, self.video.frame_names)
        if scored.sparse:
            names = tuple(n for i, n in enumerate(names) if n in there or self.video.annotated(i))
        gone = [name for name in names if name not in there]
        if gone:
            more = f" and {len(gone) - _NAMED} more" if len(gone) > _NAMED else ""
            raise IncompleteError(
                f"{len(gone)} of {len(names)} label maps of video '{self.video_id}' are missing: "
                f"{', '.join(gone[:_NAMED])}{more}",
                where=self._sources[run].path,
                hint=_AGAIN,
            )
        try:
            found = hash_of(self._read(run, name) for name in names)
        except UserError as error:  # a file that a run has written, not one of the user's
            raise IntegrityError(error.what, where=error.where, hint=error.hint) from error
        if found != scored.sha256:
            raise IntegrityError(
                f"the label maps of video '{self.video_id}' are not those that were scored",
                where=self._sources[run].path,
                hint="delete them and give the run's command again with --save-predictions",
            )

    def _stored(self, run: int, index: int) -> LabelMap | None:
        """The label map as a method gave it, in vocabulary indices; None where there is none."""
        return self._read(run, self.frame_names[index]) if self.has_label_map(run, index) else None

    def _read(self, run: int, frame: str) -> LabelMap:
        source, names = self._sources[run], len(self.protocol.vocabulary)
        found = narrow(source.read(self.video_id, frame), names)
        bad = outside(found, names)
        if bad is not None:
            raise UserError(
                f"the label {bad} is outside the vocabulary",
                where=f"{source.file(self.video_id, frame)} ({place(self.video_id, frame)})",
            )
        return found


def open_footage(
    runs: Sequence[Run | Path],
    protocol: Protocol,
    data_root: Path | None,
    video_id: str,
    *,
    dataset: Dataset | None = None,
) -> Footage:
    """The footage of one video.

    Args:
        runs: at least one, all of `protocol`, all with their label maps; a path is a folder or file of label
            maps that belongs to no run, in a form that `ovbench score` reads.
        data_root: the data set's folder; the world needs none.
        dataset: as `open_dataset(protocol, data_root)` gives it, to open it once for many videos.

    Raises:
        UserError: a run of another protocol or without label maps (the message says how they are had), an
            unknown video, no data root.
        IncompleteError: a run that has the video, but not its label maps.
    """
    for run in runs:
        _check(run, protocol, video_id)
    sources = tuple(open_source(_root(run), protocol.vocabulary, _videos(run)) for run in runs)
    video = (dataset or open_dataset(protocol, data_root)).open(video_id)
    limits = [
        int(run.manifest["frames"]) for run in runs if isinstance(run, Run) and run.manifest.get("frames")
    ]
    shown = video.frame_names[: min(limits, default=None)]
    for source in sources:
        if not set(shown) & set(source.frames(video_id, video.frame_names)):
            raise IncompleteError(
                f"there are no label maps of video '{video_id}'",
                where=source.path,
                hint=_AGAIN,
            )
    return Footage(
        protocol,
        video,
        names_of_shown(runs),
        shown,
        sources,
        tuple(_scored(run, video_id) for run in runs),
    )


def names_of_shown(runs: Sequence[Run | Path]) -> tuple[str, ...]:
    """What runs and folders of label maps are called; untrained runs say so."""
    named = iter(names_of([run for run in runs if isinstance(run, Run)]))
    return tuple(labelled(next(named), run) if isinstance(run, Run) else default_name(run) for run in runs)


def saves_label_maps(run: Run, video_id: str | None = None) -> bool:
    """Whether a run's label maps are on disk: any, or those of one video."""
    folder = RunDir(run.path).predictions_path
    return (folder if video_id is None else folder / video_id).is_dir()


def _check(run: Run | Path, protocol: Protocol, video_id: str) -> None:
    if not isinstance(run, Run):
        return
    if run.protocol["hash"] != protocol.hash:
        raise UserError(
            f"this run is of protocol '{run.protocol['id']}' v{run.protocol['version']} "
            f"{str(run.protocol['hash'])[:12]}, not of '{protocol.id}' v{protocol.version} {protocol.hash[:12]}",
            where=run.path,
            hint="show runs of one protocol together",
        )
    if video_id not in run.videos:
        raise unknown("video", video_id, run.videos, where=run.path)


def _scored(run: Run | Path, video_id: str) -> Scored | None:
    """What the run's record says of the label maps.

    Raises:
        IncompleteError: the run has not scored this video.
    """
    if not isinstance(run, Run):
        return None
    record = RunDir(run.path).record(video_id)
    if record is None:
        raise IncompleteError(
            f"this run has no record of video '{video_id}', so nobody knows what it scored",
            where=run.path,
            hint=_AGAIN,
        )
    sparse = run.method.get("id") == "predictions"
    return Scored(int(record.counts["frames"]), record.predictions_sha256, sparse)


def _root(run: Run | Path) -> Path:
    return predictions_root(run.path if isinstance(run, Run) else run)


def _videos(run: Run | Path) -> tuple[str, ...]:
    return run.videos if isinstance(run, Run) else ()
