"""The counts of a run as rows: per frame, per video, per class. Everything comes from the records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ovbench.core.errors import IntegrityError
from ovbench.engine.records import CountedVideo
from ovbench.metrics.conventions import Convention
from ovbench.metrics.iou import class_scores
from ovbench.metrics.sample import ScoreColumns, run_sample
from ovbench.metrics.series import JointSeries
from ovbench.metrics.sums import ClassSums, sums_of, total_sums
from ovbench.metrics.videocounts import ChangeCounts, Joint, VideoCounts
from ovbench.protocol.schema import Protocol

Columns: TypeAlias = Mapping[str, Sequence[Any] | NDArray[Any]]
"""Name -> values, all of one length. NaN: undefined."""

PER = ("run", "video", "frame")


@dataclass
class Rows:
    """Makes the rows of a run under one convention, and adds up what they hold.

    `total` grows with every video that was asked for; `check` compares it with the summary.
    """

    protocol: Protocol
    rule: Convention
    records: Sequence[CountedVideo]

    def __post_init__(self) -> None:
        self.total: ClassSums = total_sums(self.protocol, (), self.rule)

    def frames(self) -> Iterator[Columns]:
        """A block per video, a row per frame: its scores as if it were the whole run, and what changed since the
        frame before. Frames without truth, or that were not segmented, have no scores."""
        columns = ScoreColumns(self.protocol, self.rule)
        for record in self.records:
            counts = record.counts
            index, sums = self._frame_sums(counts)
            rows = np.array([columns.row(s) for s in sums], np.float64).reshape(len(sums), columns.width)
            every = np.arange(counts.frames)
            scores = np.full((counts.frames, len(columns.names)), np.nan)
            scores[index] = columns.scores(rows)
            yield {
                "video": [record.video_id] * counts.frames,
                "frame": every,
                "annotated": np.isin(every, index).astype(np.int64),
                "pixels": _placed(counts.frames, index, [int(s.truth.sum()) for s in sums]),
                "classes": _placed(counts.frames, index, [int((s.truth > 0).sum()) for s in sums]),
                **dict(zip(columns.names, scores.T, strict=True)),
                **_changes(counts),
            }

    def videos(self) -> Iterator[Columns]:
        """One block, a row per video: its scores as if it were the whole run, temporal ones included."""
        sums = sums_of(self.protocol, [r.counts for r in self.records], self.rule)
        sample = run_sample(self.protocol, self.records, sums, self.rule.id)
        self.total = total_sums(self.protocol, sums, self.rule)
        plain = ("frames", "annotated", "listed_files", "height", "width")
        yield {
            "video": [r.video_id for r in self.records],
            **{name: np.array([getattr(r.counts, name) for r in self.records]) for name in plain},
            "pixels": np.array([int(s.truth.sum()) for s in sums]),
            "classes": np.array([int((s.truth > 0).sum()) for s in sums]),
            **dict(zip(sample.names, sample.scores(sample.sums).T, strict=True)),
        }

    def classes(self, per: str) -> Iterator[Columns]:
        """A row per class that occurs in truth or prediction: of the run, of each video, or of each frame."""
        if per == "run":
            self._add(sums_of(self.protocol, [r.counts for r in self.records], self.rule))
            yield self._class_rows([self.total], {})
            return
        for record in self.records:
            if per == "video":
                sums = sums_of(self.protocol, [record.counts], self.rule)
                self._add(sums)
                yield self._class_rows(sums, {"video": [record.video_id]})
            else:
                index, sums = self._frame_sums(record.counts)
                names = {"video": [record.video_id] * len(sums), "frame": index.tolist()}
                yield self._class_rows(sums, names)

    def check(self, summary: Mapping[str, Any]) -> None:
        """Raise `IntegrityError` unless the rows add up to the summary, if they are of its convention."""
        if summary["convention"]["id"] != self.rule.id:
            return
        for row in summary["per_class"]:
            c = row["index"]
            if (row["truth"], row["prediction"]) != (int(self.total.truth[c]), int(self.total.prediction[c])):
                raise IntegrityError(
                    f"the rows do not add up to the summary: class '{row['name']}' has {row['truth']} pixels in its "
                    f"truth and {row['prediction']} in its prediction, the rows "
                    f"{self.total.truth[c]} and {self.total.prediction[c]}",
                    hint="a record or the summary is damaged; delete summary.json and run again",
                )

    def _add(self, sums: Sequence[ClassSums]) -> None:
        self.total = total_sums(self.protocol, [self.total, *sums], self.rule)

    def _frame_sums(self, counts: VideoCounts) -> tuple[NDArray[np.int64], list[ClassSums]]:
        """Numbers of the annotated frames, and the sums of each."""
        frames = list(counts.per_frame)
        parts = [_one_frame(counts, *columns) for _, *columns in frames]
        sums = sums_of(self.protocol, parts, self.rule) if parts else []
        self._add(sums)
        return np.array([f[0] for f in frames], np.int64), sums

    def _class_rows(self, parts: Sequence[ClassSums], names: Mapping[str, Sequence[Any]]) -> Columns:
        hit, truth, guess = (
            np.array([getattr(s, n) for s in parts], np.int64).reshape(len(parts), len(self.protocol.classes))
            for n in ("intersection", "truth", "prediction")
        )
        part, which = np.nonzero((truth > 0) | (guess > 0))
        hit, truth, guess = hit[part, which], truth[part, which], guess[part, which]
        iou, acc = class_scores(*(a.astype(np.float64) for a in (hit, truth, guess)))
        rows = self.protocol.classes
        return {
            **{key: [values[i] for i in part.tolist()] for key, values in names.items()},
            "class": which,
            "name": [rows[c].name for c in which.tolist()],
            "group": ["seen" if rows[c].seen else "unseen" for c in which.tolist()],
            "kind": [rows[c].kind for c in which.tolist()],
            "intersection": hit,
            "truth": truth,
            "prediction": guess,
            "iou": iou,
            "acc": acc,
        }


def _one_frame(counts: VideoCounts, truth: Any, prediction: Any, pixels: Any) -> VideoCounts:
    """A frame as a video of its own."""
    joint = Joint(tuple(truth.tolist()), tuple(prediction.tolist()), tuple(pixels.tolist()))
    series = JointSeries.of([(0, truth, prediction, pixels)])
    return VideoCounts(1, 1, 1, counts.height, counts.width, joint, per_frame=series)


_CHANGE_NAMES = {
    "pixels": "compared_pixels",
    "changed": "changed_pixels",
    "aba_pixels": "aba_compared_pixels",
    "aba": "aba_pixels",
    "scored": "both_scored_pixels",
    "scored_changed": "both_scored_changed",
    "truth_changed": "truth_changed",
}


def _changes(counts: VideoCounts) -> dict[str, NDArray[Any]]:
    """Pixels that changed since the frame before, and their shares in percent."""
    where = np.array(counts.changes.frame, np.int64)
    columns = {
        _CHANGE_NAMES[f.name]: _placed(counts.frames, where, getattr(counts.changes, f.name))
        for f in fields(ChangeCounts)
        if f.name != "frame"
    }
    rates = {}
    for name, part, whole in (
        ("change_rate", "changed_pixels", "compared_pixels"),
        ("aba_rate", "aba_pixels", "aba_compared_pixels"),
    ):
        with np.errstate(invalid="ignore", divide="ignore"):
            rates[name] = np.where(columns[whole] > 0, 100.0 * columns[part] / columns[whole], np.nan)
    return {**columns, **rates}


def _placed(length: int, where: NDArray[np.int64], values: Sequence[int]) -> NDArray[np.int64]:
    """`values` at the places `where`, 0 elsewhere."""
    column = np.zeros(length, np.int64)
    column[where] = values
    return column
