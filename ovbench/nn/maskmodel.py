"""A mask network together with its CLIP: how its weights are taken, and from a frame to what it is fed."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import torch
from torch import Tensor, nn

from ovbench.core.errors import UserError
from ovbench.core.types import Image
from ovbench.protocol.vocabulary import Vocabulary

from .checkpoint import apply, load_weights, modern_head_names
from .clip import ClipPair, fresh_clip, hash_state, load_clip, no_clip
from .maskconfig import MaskConfig, RegionLook
from .maskformer import resize_shortest, to_pixels
from .prompts import SIGNALS, LearnedPrompt
from .seeded import named_values
from .seen import Seen, decide
from .weights_file import listing, state_of

C = TypeVar("C", bound=MaskConfig)
N = TypeVar("N", bound=nn.Module)

_ADAPTERS = ("", "clip_", "clip_adapter.", "_region_clip_adapter.")
CONSTANTS = ("criterion.", *(f"{a}pixel_{k}" for a in _ADAPTERS for k in ("mean", "std")))
"""Names in official checkpoints that no result depends on: the loss weights, and fixed statistics of images."""


class MaskModel(ABC, Generic[C, N]):
    """A method's network, frozen, in evaluation mode. CLIP comes from one of three places:

    - a file of its own (`clip_weights`, or the embedded world's, which serves all methods): it wins over what
      lies in a checkpoint;
    - the checkpoint;
    - nowhere: `fill_by_name` makes it from its parameters' names, and `clip_given` stays False.

    Args:
        clip_weights: CLIP's own file, for checkpoints that were saved without it.
        device: where to compute.
    """

    method: ClassVar[str]
    clip_names: ClassVar[tuple[str, ...]]
    """How names of CLIP's weights begin in the network."""
    fixed_names: ClassVar[tuple[str, ...]] = ()
    """Buffers that follow from the network's sizes: a file may hold them, and their values are not looked at."""

    def __init__(self, config: C, clip_weights: Path | None = None, device: str = "cpu") -> None:
        self.config = config
        if clip_weights is not None and config.shared_clip:
            raise UserError(
                "the world's two-tower model takes no clip_weights", hint="leave clip_weights out"
            )
        self.clip_given = self.own_clip = clip_weights is not None or config.shared_clip
        self.trained_on: tuple[str, ...] = ()  # names of the classes whose masks the weights were trained on
        self.clips: list[ClipPair] = []
        self._source = (clip_weights, device)
        self.net = self.build()
        self.net.to(self.clip.device).eval().requires_grad_(False)

    @abstractmethod
    def build(self) -> N:
        """The network, fresh, around what `towers` gives."""

    @abstractmethod
    def texts(self, vocabulary: Vocabulary) -> tuple[Tensor, ...]:
        """(K, E) unit vectors of the names: for the queries first, for CLIP's look at regions last."""

    @abstractmethod
    def scores(
        self, image: Image, texts: tuple[Tensor, ...], seen: Tensor, resize: bool, out_size: tuple[int, int]
    ) -> Tensor:
        """What the label map is the argmax of: (K, h, w).

        Args:
            image: (H, W, 3) uint8 RGB.
            texts: of the names, as `texts` gives them.
            seen: (K,) bool, which names count as seen.
            resize: False feeds the image as it is (padded to a multiple of 32).
            out_size: (h, w) of the result.
        """

    def towers(self) -> ClipPair:
        """Another CLIP; its weights may come later."""
        weights, device = self._source
        if not self.own_clip:
            self.clips.append(fresh_clip(self.config.clip, device))
            return self.clips[-1]
        expected = f"clip_weights takes the weights of {self.config.clip} alone, under OpenAI's names"
        with naming_file(weights, expected):
            self.clips.append(load_clip(self.config.clip, weights, device))
        return self.clips[-1]

    @property
    def clip(self) -> ClipPair:
        """The (first) two towers."""
        return self.clips[0]

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        return self.clip.device

    def seen(self, vocabulary: Vocabulary) -> Seen | None:
        """Which names count as seen; None where it makes no difference."""
        look = self.config
        if not isinstance(look, RegionLook):
            return None
        return decide(vocabulary, look.seen_rule, self.trained_on, look.seen_names)

    def pixels(self, image: Image, resize: bool = True) -> Tensor:
        """(H, W, 3) uint8 -> (1, 3, H', W') 0..255, at the configured size if `resize`."""
        if resize:
            image = resize_shortest(image, self.config.short_side, self.config.long_side)
        return to_pixels(image, self.device)

    def of_clip(self, name: str) -> bool:
        """Whether a parameter belongs to CLIP as published."""
        return name.startswith(self.clip_names)

    def state(self) -> dict[str, Tensor]:
        """Weights by official name, without a CLIP that all methods share."""
        state = self.net.state_dict()
        return {n: v for n, v in state.items() if not (self.config.shared_clip and self.of_clip(n))}

    def load_official(self, state: Mapping[str, Any], where: Path | None = None) -> None:
        """Take weights by official name, strictly; with or without CLIP's, which stays as it is without.

        Args:
            state: as `weights_file.state_of` takes it.
            where: the file they come from, for errors.

        Raises:
            UserError: lists missing, unexpected and wrongly shaped names; nothing has changed then.
        """
        with naming_file(where):
            self._take(state_of(state))

    def _take(self, given: Mapping[str, Tensor]) -> None:
        own = self.net.state_dict()
        state = modern_head_names(given, own)
        renamed = {new: old for old, new in zip(given, state, strict=True) if old != new}
        state = {name: value for name, value in state.items() if name not in self.fixed_names}
        if self.own_clip:
            self._check_left_out(state)
            state = {name: value for name, value in state.items() if not self.of_clip(name)}
        inside = any(self.of_clip(name) for name in state)
        if not inside:
            state |= {name: value for name, value in own.items() if self.of_clip(name)}
        state |= {name: own[name] for name in self.fixed_names if name in own}
        try:
            apply(self.net, state, ignore=CONSTANTS)
        except UserError as error:
            raise UserError(_as_given(error.what, renamed), where=error.where, hint=error.hint) from error
        if inside:
            for clip in self.clips:
                clip.weights_id = hash_state(clip.model.state_dict())
            self.clip_given = True

    def _check_left_out(self, state: Mapping[str, Tensor]) -> None:
        """Raise `UserError` where the CLIP that a file of its own replaces does not look like that CLIP."""
        own = {name: value for name, value in self.net.state_dict().items() if self.of_clip(name)}
        if self.config.shared_clip:
            towers = self.clip.model.state_dict()
            own |= {f"{prefix}{name}": value for prefix in self.clip_names for name, value in towers.items()}
        inside = {name: value for name, value in state.items() if self.of_clip(name)}
        strange = [
            name
            for name, value in inside.items()
            if name not in own or tuple(value.shape) != tuple(own[name].shape)
        ]
        if strange:
            raise UserError(
                f"the CLIP in these weights is not {self.config.clip}: "
                f"{listing('entry of another name or shape', strange)}",
                hint="give the weights of this very method and variant, or --set clip=... as they were trained",
            )

    def fill_by_name(self) -> None:
        """Name-seeded weights for everything that no file has given."""
        if not self.own_clip:
            for clip in self.clips:
                clip.seed()
        with torch.no_grad():
            for name, tensor in self.net.state_dict(keep_vars=True).items():
                if tensor.is_floating_point() and not self.of_clip(name) and not name.endswith(SIGNALS):
                    tensor.copy_(named_values(name, tuple(tensor.shape)))
            for module in self.net.modules():
                if isinstance(module, LearnedPrompt):
                    module.take_signals()

    @classmethod
    def load(
        cls,
        config: C,
        weights: Path | None,
        clip_weights: Path | None = None,
        device: str = "cpu",
        variant: str = "",
    ) -> Self:
        """From files; without `weights` they are name-seeded.

        Raises:
            UserError: weights of another method or architecture, names and shapes that do not fit, or no CLIP
                anywhere.
        """
        model = cls(config, clip_weights, device)
        if weights is None:
            model.fill_by_name()
            return model
        state, header = load_weights(weights)
        cls.check_header(header, config, weights, variant)
        model.load_official(state, weights)
        model.trained_on = tuple(json.loads(header.get("classes", "[]")))
        if not model.clip_given:
            raise no_clip(config.clip, weights)
        return model

    @classmethod
    def check_header(cls, header: Mapping[str, str], config: C, where: Path, variant: str = "") -> None:
        """Raise `UserError` for weights that say they belong to another method or another network."""
        if header.get("method", cls.method) != cls.method:
            raise UserError(f"these are weights of '{header['method']}', not of {cls.method}", where=where)
        differs = config.differs(header.get("config", ""))
        if differs:
            what = ", ".join(f"{k} {old} instead of {new}" for k, (old, new) in sorted(differs.items()))
            trained = header.get("variant", variant)
            raise UserError(
                f"these weights were trained with {what}",
                where=where,
                hint=f"--variant {trained}" if trained != variant else "leave out what --set changes",
            )


@contextmanager
def naming_file(where: object, hint: str | None = None) -> Iterator[None]:
    """Errors of the block say which file they are about; `hint` counts where it is given."""
    try:
        yield
    except UserError as error:
        if error.where is not None or where is None:
            raise
        raise UserError(error.what, where=where, hint=hint or error.hint) from error


def _as_given(what: str, renamed: Mapping[str, str]) -> str:
    """A message with the names that entries have in the file, by those that they were given here."""
    return re.sub(r"[\w.]+", lambda found: renamed.get(found[0], found[0]), what)
