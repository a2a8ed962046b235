"""The evaluation released with OV2VSS (its default setting `val_unseen`), as sums that add up over videos.

Read from `mmseg/core/evaluation/metrics.py` and `mmseg/datasets/custom.py` of AVC2-UESTC/OV2VSS (commit 25fca42).
With K scored classes, numbered 0..K-1 in the order of the table, and further names K, K+1, ... in the vocabulary:

- The label map is off by one, so the pixels of class K-1 keep a label that is no class and not void either. They
  are in no truth, but what is predicted on them counts as given.
- Areas per class are histograms over the edges 0..K, whose last bin is closed: a prediction K is counted as K-1.
- fwIoU, and an mIoU that is only printed, come from a matrix filled by `bincount(K * truth + prediction)` over
  the pixels whose truth is a class. There K is (truth + 1, 0): truth of the next class, predicted as the first one.
  A larger value, such as an abstention (255), lands further on; behind the last cell the script stops.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ovbench.core.errors import UserError
from ovbench.core.types import OTHER8, OTHER16
from ovbench.protocol.check import RELEASED
from ovbench.protocol.schema import Protocol

from .groups import Classes
from .iou import Floats, ratio

if TYPE_CHECKING:
    from .sums import Entries

Ints: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True)
class ReleasedSums:
    """Pixels of P videos: `hit`, `truth`, `prediction` (P, C) from the histograms, and the matrix.

    `matrix` is (P, 3C + 1): its diagonal, row sums and column sums by class of the table, and the pixels that fall
    behind its last cell.
    """

    hit: Ints
    truth: Ints
    prediction: Ints
    matrix: Ints


def check_applies(protocol: Protocol) -> None:
    """Raise `UserError` for a protocol whose numbers this evaluation cannot be asked for."""
    if (protocol.vocabulary_mode, protocol.scored) != ("unseen", "unseen"):
        raise UserError(
            f"the convention '{RELEASED}' restates an evaluation of unseen names on unseen pixels, "
            f"which protocol '{protocol.id}' is not",
            hint="it is for protocols with vocabulary = 'unseen' and scored = 'unseen', such as vspw-80-44",
        )


def matrix_width(protocol: Protocol) -> int:
    """Number of sums in a row of `ReleasedSums.matrix`."""
    return 3 * len(protocol.classes) + 1


def file_values(protocol: Protocol, names: Ints) -> Ints:
    """What stands in a label map: the vocabulary index, 255 (65535 for more than 255 names) for an abstention."""
    stray = OTHER8 if len(protocol.vocabulary_classes) <= OTHER8 else OTHER16
    return np.where(names < 0, stray, names)


def released_sums(protocol: Protocol, found: Entries, parts: int) -> ReleasedSums:
    """The sums of each of `parts` videos; raises `UserError` as `check_applies`."""
    check_applies(protocol)
    scored = np.array(protocol.scored_classes, np.int64)
    count, last = len(scored), int(scored[-1])
    shape = (parts, len(protocol.classes))
    value = file_values(protocol, found.name)
    is_class = found.truth != last
    named = value <= count  # K too: the last bin is closed
    given = scored[np.minimum(value, count - 1)]
    place = np.zeros(shape[1], np.int64)
    place[scored] = np.arange(count)
    cell = count * place[found.truth] + value
    inside = is_class & (cell < count * count)
    row, column = (scored[np.where(inside, x, 0)] for x in (cell // count, cell % count))
    beyond = found.add_up(np.zeros_like(cell), (parts, 1), is_class & ~inside)
    matrix = (
        found.add_up(row, shape, inside & (row == column)),
        found.add_up(row, shape, inside),
        found.add_up(column, shape, inside),
        beyond,
    )
    return ReleasedSums(
        found.add_up(found.truth, shape, is_class & (found.guess == found.truth)),
        found.add_up(found.truth, shape, is_class),
        found.add_up(given, shape, named),
        np.concatenate(matrix, axis=1),
    )


def matrix_fwiou(rows: Floats, groups: Iterable[Classes]) -> list[Floats]:
    """(3C + 1, R) sums of the matrix -> fwIoU in percent of each group, (R,) each; NaN where the script stops."""
    count = (len(rows) - 1) // 3
    hit, truth, guess = (rows[i * count : (i + 1) * count] for i in range(3))
    weighed = truth * ratio(100.0 * hit, truth + guess - hit, 0.0)
    stops = rows[-1] > 0
    return [
        np.where(stops, np.nan, ratio(weighed[g].sum(axis=0), truth[g].sum(axis=0)))
        for g in map(np.asarray, groups)
    ]


def matrix_cells(row: Ints, index: int) -> list[int] | None:
    """Diagonal, row sum and column sum of a class in one (3C + 1,) row; None where the script stops."""
    count = (len(row) - 1) // 3
    return None if row[-1] > 0 else [int(row[i * count + index]) for i in range(3)]


def with_fwiou(
    found: Sequence[tuple[Floats, ...]], rows: Floats, groups: Iterable[Classes]
) -> list[tuple[Floats, ...]]:
    """Scores of groups as `iou.pooled_scores` gives them, fwIoU replaced by that of the matrix."""
    weighed = matrix_fwiou(rows, groups)
    return [(s[0], fwiou, *s[2:]) for s, fwiou in zip(found, weighed, strict=True)]
