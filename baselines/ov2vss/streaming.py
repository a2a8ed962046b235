"""What both profiles share: a video target by target, or one target alone."""

from __future__ import annotations

import operator
from abc import abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ovbench.core.errors import UserError
from ovbench.core.types import Image, LabelMap
from ovbench.datasets.base import ArrayVideo, Video
from ovbench.methods.base import Segmenter, check_image, check_size, check_video, unused
from ovbench.protocol.vocabulary import Vocabulary

from .speed import Speed
from .window import Encoder, FrameWindow, Needs


class ClipSegmenter(Segmenter):
    """Labels a frame from a clip around it and a far frame.

    Per new frame there is one pass of the backbone and one of CLIP; what earlier frames gave is kept in a
    `FrameWindow`. With `streaming` off every clip computes all its frames, as the released code does. The label
    maps are the same either way.
    """

    def __init__(self, speed: Speed, device: torch.device) -> None:
        self.speed, self.device = speed, device

    @abstractmethod
    def needs(self, target: int, length: int) -> Needs:
        """The frames a target takes, in a video of that length."""

    @abstractmethod
    def encoder(self, resize: bool) -> Encoder:
        """The two passes; `resize` off takes frames at their own size."""

    @abstractmethod
    def target_scores(self, window: FrameWindow, target: int, size: tuple[int, int]) -> Tensor:
        """(K, *size) scores of the window's present target."""

    def segment(self, video: Video) -> Iterator[LabelMap]:
        check_video(video)
        wanted = [t for t in range(len(video)) if video.wanted(t)]
        window = self._window(video, wanted)
        dtype = np.uint8 if len(self.vocabulary) <= 255 else np.uint16
        for target in range(len(video)):
            if not video.wanted(target):
                yield unused()
                continue
            scores = self._scores(window, target)
            yield scores.argmax(0).cpu().numpy().astype(dtype)

    def scores(
        self,
        image: Image | Video,
        index: int | bool = 0,
        out_size: tuple[int, int] | None = None,
        *,
        resize: bool = True,
    ) -> NDArray[np.float32]:
        """What the label map is the argmax of: (K, h, w) float32.

        Args:
            image: (H, W, 3) uint8 RGB, taken as a video of one frame; or a video.
            index: the target frame of a video. A flag in this place is taken as `resize`.
            out_size: (h, w) of the scores; default the frame's own size.
            resize: False feeds the network the frames as they are, not at the input size.

        Raises:
            UserError: an image of another shape or type, frames of different sizes, no vocabulary yet, a frame that
                the video does not have, a size that is none.
        """
        if isinstance(index, bool):
            resize, index = index, 0
        video = image if isinstance(image, Video) else ArrayVideo(check_image(image)[None])
        assert self.vocabulary  # says so when prepare has not been called
        index, out_size = _frame_number(video, index), check_size(out_size)
        window = self._window(video, [index], resize)
        return self._scores(window, index, out_size).cpu().numpy()

    def _window(self, video: Video, targets: Sequence[int], resize: bool = True) -> FrameWindow:
        length = len(video)
        return FrameWindow(
            video,
            self.encoder(resize),
            lambda target: self.needs(target, length),
            targets,
            self.speed.batch(self.device),
            keep=self.speed.streaming,
        )

    @torch.no_grad()
    def _scores(self, window: FrameWindow, target: int, size: tuple[int, int] | None = None) -> Tensor:
        window.video.image(target)  # an unknown frame number is named as such
        with self.speed.passes(self.device):
            window.move(target)
        with self.speed.head(self.device):
            found = self.target_scores(window, target, size or window.size())
        return found.float()


def _frame_number(video: Video, index: int) -> int:
    """The number of a frame that the video has; raises `UserError` naming the range."""
    last = len(check_video(video)) - 1
    try:
        number = operator.index(index)
    except TypeError:
        number = -1
    if not 0 <= number <= last:
        raise UserError(
            f"index must be a frame number from 0 to {last}, not {index!r}", where=f"video '{video.id}'"
        )
    return number


def permuted(text: Tensor, shuffle: int) -> Tensor:
    """The permuted-text control, text (K, ...): every class gets another class's; 0 leaves it as it is."""
    if not shuffle or len(text) < 2:
        return text
    order = np.random.Generator(np.random.PCG64(shuffle)).permutation(len(text))
    moved = torch.empty_like(text)
    moved[order] = text[np.roll(order, 1)]
    return moved


def trained_though_unseen(trained: tuple[str, ...], vocabulary: Vocabulary) -> str:
    """A remark on names that the vocabulary calls unseen and the weights have seen masks of; "" without any."""
    seen = vocabulary.seen or (True,) * len(vocabulary)
    leaked = [n for n, flag in zip(vocabulary.names, seen, strict=True) if not flag and n in trained]
    if not leaked:
        return ""
    return f"TRAINED ON MASKS of classes that are unseen in this protocol: {', '.join(leaked)}."
