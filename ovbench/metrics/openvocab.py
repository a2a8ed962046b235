"""Scores that forgive names which say the same or say it less exactly. They stand beside mIoU, never in its place.

Both rest on a reviewed table of names (`taxonomy.py`) and on the counts of the default convention
(gt-present; an abstention is a miss; every scored pixel counts), whatever convention the protocol has.

merged   The classes of each group of the table become one class, in truth and prediction; then mIoU
         over the merged classes that occur in the truth. A merged class with a seen member counts as
         seen: whoever was trained on one of its names has not shown that he knows the other. It counts
         as unseen only if all of its members are, and to a further group only if all are in it.

soft     SG-IoU-style credit (after SCAN, CVPR 2024; our own table). With M[f, c] the pixels of truth c
         that are predicted as f, a name f that contains c earns a share of those pixels:

             TP'_c  = TP_c + sum over parents f of c: M[f, c] * beta_f
             beta_f = (M[f, c] + M[f, f]) / (sum over g: M[f, g])
             IoU'_c = TP'_c / (GT_c + Pred_c - TP_c)

         beta_f is the share of f's pixels that are f or c: a parent that is called everywhere earns
         little. As beta_f <= 1 and the M[f, c] are distinct pixels of c, TP'_c <= GT_c and IoU'_c lies
         between IoU_c and 100; it is IoU_c where no parent is predicted on c. The mean runs over the
         classes that occur in the truth, groups as for mIoU. Confusing siblings earns nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ovbench.core.errors import IntegrityError
from ovbench.protocol.schema import Protocol
from ovbench.stats.bootstrap import none_if_nan

from .groups import scored_groups
from .iou import Floats, ratio
from .taxonomy import Taxonomy, describe_taxonomy

_SLACK = 1e-6  # percent


class Merged:
    """The merged classes of a protocol, and their mIoU from sums that add up.

    Attributes:
        classes: members of each merged class, in the order of the first one.
        groups: group of the protocol -> positions in `classes`.
    """

    def __init__(self, protocol: Protocol, taxonomy: Taxonomy) -> None:
        number = taxonomy.group_of(len(protocol.classes))
        alone = [(c,) for c in sorted(protocol.scored_classes) if number[c] < 0]
        joined = list(taxonomy.groups.values())
        self.classes = sorted([*alone, *joined])
        self._joined = [self.classes.index(members) for members in joined]
        self._first = np.array([members[0] for members in self.classes], np.int64)
        self.groups = {
            name: np.array([i for i, m in enumerate(self.classes) if _belongs(m, name, protocol)], np.int64)
            for name in scored_groups(protocol)
        }

    def names(self) -> tuple[str, ...]:
        """Names of the rows of `miou`."""
        return tuple(f"{group}.merged_miou" for group in self.groups)

    def miou(self, hit: Floats, truth: Floats, guess: Floats, swapped: Floats) -> tuple[Floats, Floats]:
        """Merged mIoU in percent and the number of merged classes it runs over: two (groups, R) arrays.

        Args:
            hit, truth, guess: (C, R) sums of the default convention.
            swapped: (G, R) hits between different classes of each group of the taxonomy.
        """
        h, t, g = (self._merge(rows) for rows in (hit, truth, guess))
        h[self._joined] += swapped
        iou, present = ratio(100.0 * h, t + g - h, 0.0), (t > 0).astype(np.float64)
        rows = [(iou[m].sum(axis=0), present[m].sum(axis=0)) for m in self.groups.values()]
        return np.array([ratio(total, number) for total, number in rows]), np.array([n for _, n in rows])

    def _merge(self, rows: Floats) -> Floats:
        merged = rows[self._first]
        for place in self._joined:
            merged[place] = rows[list(self.classes[place])].sum(axis=0)
        return merged


def _belongs(members: tuple[int, ...], group: str, protocol: Protocol) -> bool:
    inside = [c in protocol.groups[group] for c in members]
    return any(inside) if group == "seen" else all(inside)


def soft_ious(matrix: NDArray[np.int64], taxonomy: Taxonomy) -> tuple[Floats, Floats]:
    """IoU and soft IoU of each class in percent, (C,) each; NaN for classes without truth.

    Args:
        matrix: (C, C + 1) pixels by truth class and predicted class, last column: abstained.
    """
    table = matrix.astype(np.float64)
    truth, guess, hit = table.sum(axis=1), table[:, :-1].sum(axis=0), np.diagonal(table).copy()
    credit = hit.copy()
    for parent, child in taxonomy.parents:
        if guess[parent]:
            share = (table[child, parent] + hit[parent]) / guess[parent]
            credit[child] += table[child, parent] * share
    union = np.where(truth > 0, truth + guess - hit, 0.0)
    return ratio(100.0 * hit, union), ratio(100.0 * np.minimum(credit, truth), union)


def open_vocabulary(
    protocol: Protocol, matrix: NDArray[np.int64], taxonomy: Taxonomy | None
) -> dict[str, Any]:
    """The "open_vocabulary" part of a summary; null values where there is no table for these classes.

    Args:
        matrix: (C, C + 1) scored pixels by truth class and predicted class, last column: abstained.
    """
    groups = scored_groups(protocol)
    if taxonomy is None:
        return {
            "taxonomy": None,
            "merged": {g: {"miou": None, "classes": None} for g in groups},
            "soft": {g: {"miou": None} for g in groups},
        }
    merged = Merged(protocol, taxonomy)
    values, numbers = merged.miou(*(a[:, None].astype(np.float64) for a in _plain_sums(matrix, taxonomy)))
    iou, soft = soft_ious(matrix, taxonomy)
    if (soft < iou - _SLACK).any() or (soft > 100.0 + _SLACK).any():
        raise IntegrityError(
            "soft IoU does not lie between IoU and 100",
            where=f"protocol {protocol.id}, taxonomy {taxonomy.id}",
            hint="a record is damaged; run again with --fresh",
        )
    return {
        "taxonomy": describe_taxonomy(taxonomy),
        "merged": {
            g: {"miou": none_if_nan(values[i, 0]), "classes": int(numbers[i, 0])}
            for i, g in enumerate(merged.groups)
        },
        "soft": {g: {"miou": _mean_of(soft[members])} for g, members in groups.items()},
    }


def _plain_sums(matrix: NDArray[np.int64], taxonomy: Taxonomy) -> tuple[NDArray[np.int64], ...]:
    """Intersection, truth, prediction (C,) and swaps (G,) of the default convention."""
    named = matrix[:, :-1]
    hit = np.diagonal(named)
    swapped = [named[np.ix_(m, m)].sum() - hit[list(m)].sum() for m in taxonomy.groups.values()]
    return hit, matrix.sum(axis=1), named.sum(axis=0), np.array(swapped, np.int64)


def _mean_of(values: Floats) -> float | None:
    kept = values[~np.isnan(values)]
    return float(kept.mean()) if len(kept) else None
