"""What training may know of a mask: the seen classes, and nothing of the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ovbench.core.errors import UserError, unknown
from ovbench.core.types import RawMask
from ovbench.datasets.base import Video
from ovbench.protocol.schema import Protocol
from ovbench.protocol.vocabulary import Vocabulary

IGNORE = 255
"""Target of pixels that training does not look at: void, unseen, or not asked for."""

_UNDECLARED = 254  # as in Protocol.truth_table


class SeenTargets:
    """Raw masks -> training targets. The only way training code may read a mask.

    A target is the position of the pixel's class among `classes`; pixels of unseen classes and void become
    `IGNORE`, so that no unseen id can come out.

    Args:
        names: the classes wanted, by name (as in the vocabulary or the class table); default all seen ones.

    Attributes:
        classes: class indices of the targets, in the order of the class table.
        vocabulary: their names, synonyms and templates, in the same order.

    Raises:
        UserError: an unseen or unknown name, or a protocol without seen classes.
    """

    def __init__(self, protocol: Protocol, names: Sequence[str] | None = None) -> None:
        seen = [c for c, row in enumerate(protocol.classes) if row.seen]
        if not seen:
            raise UserError(f"protocol '{protocol.id}' has no seen classes: there is nothing to train on")
        self.protocol_id = protocol.id
        self.classes = tuple(seen if names is None else sorted({_seen_class(protocol, n) for n in names}))
        if len(self.classes) >= _UNDECLARED:
            raise UserError(f"{len(self.classes)} seen classes; training handles at most {_UNDECLARED - 1}")
        self.vocabulary = _vocabulary(protocol, self.classes)
        self._table = np.full(65536, _UNDECLARED, np.uint8)
        self._table[protocol.truth_table != _UNDECLARED] = IGNORE
        for target, c in enumerate(self.classes):
            self._table[list(protocol.classes[c].raw_ids)] = target
        unseen = [i for row in protocol.classes if not row.seen for i in row.raw_ids]
        leaked = [i for i in (*unseen, *protocol.ignore_ids) if self._table[i] != IGNORE]
        if leaked:
            raise UserError(f"mask ids {leaked} are both seen and not", where=protocol.id)
        self._table.setflags(write=False)
        self._unseen = np.zeros(65536, np.bool_)
        self._unseen[unseen] = True
        self._unseen.setflags(write=False)

    def __len__(self) -> int:
        return len(self.classes)

    def __call__(self, mask: RawMask) -> NDArray[np.uint8]:
        """(H, W) raw ids -> (H, W) uint8 targets, `IGNORE` where there is none.

        Raises:
            UserError: an id that the protocol does not declare.
        """
        out: NDArray[np.uint8] = self._table[mask]
        if (out == _UNDECLARED).any():
            values: NDArray[Any] = np.unique(mask[out == _UNDECLARED])
            raise UserError(
                f"mask ids {values[:8].tolist()} are not declared by protocol '{self.protocol_id}'",
                hint="check the masks with `ovbench data verify`",
            )
        return out

    def read(self, video: Video, index: int) -> NDArray[np.uint8]:
        """Targets of an annotated frame; raises `UserError` naming video and frame."""
        mask = video.truth(index)
        try:
            return self(mask)
        except UserError as error:
            where = f"{video.id}, frame {video.frame_names[index]}"
            raise UserError(error.what, where=where, hint=error.hint) from None

    def hidden(self, video: Video, index: int) -> NDArray[np.bool_]:
        """Where training may not look in an annotated frame's photograph: (H, W), True on unseen classes.

        All unseen classes give the same value, so that none can be told from another. Void is not hidden.

        Raises:
            UserError: a frame without a mask.
        """
        if not video.annotated(index):
            raise UserError(
                "unseen classes cannot be painted over in a frame without a mask",
                where=f"{video.id}, frame {video.frame_names[index]}",
                hint="--set mask_images=none, or training videos with a mask for every frame",
            )
        out: NDArray[np.bool_] = self._unseen[video.truth(index)]
        return out


def _seen_class(protocol: Protocol, name: str) -> int:
    for index, row in enumerate(protocol.classes):
        if name in (row.name, row.clean):
            if row.seen:
                return index
            raise UserError(
                f"'{name}' is an unseen class of '{protocol.id}': it cannot be a training target",
                hint="train on seen classes only; unseen ones are for evaluation",
            )
    raise unknown("class name", name, [row.name for row in protocol.classes if row.seen])


def _vocabulary(protocol: Protocol, classes: Sequence[int]) -> Vocabulary:
    rows = [protocol.classes[c] for c in classes]
    names = [r.name if protocol.name_variant == "raw" else r.clean for r in rows]
    words = None
    if protocol.name_variant == "clean+synonyms":
        words = [(r.clean, *r.synonyms) for r in rows]
    return Vocabulary(names, [True] * len(rows), words, protocol.templates)
