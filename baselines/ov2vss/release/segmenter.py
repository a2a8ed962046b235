"""The released code's network as a method: its clips, its input sizes, its early frames."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from ovbench.core.errors import UserError
from ovbench.core.types import Image
from ovbench.methods.base import Setup
from ovbench.methods.registry import card
from ovbench.nn.backbones import normalise
from ovbench.nn.checkpoint import load_weights
from ovbench.nn.clip import no_clip
from ovbench.nn.frames import upload
from ovbench.nn.weights_file import state_of
from ovbench.protocol.vocabulary import Vocabulary

from ..clips import released_clip, released_far
from ..config import Config
from ..headers import METHOD, check_header, check_names
from ..inputs import RULES, Size, input_size, parse_size, resize_as_released
from ..speed import Speed
from ..streaming import ClipSegmenter, permuted, trained_though_unseen
from ..window import FrameWindow, Needs
from .network import CLIP, Far, ReleaseNetwork, release_scores

PROFILE = "release"
_CLIP = "decode_head.predictor.clip_model."


class ReleaseSegmenter(ClipSegmenter):
    """Labels frame t from a far frame, t-9, t-6 and t; the first three frames of a video from themselves alone.

    Scores are the softmax over sigmoids that the released code takes its argmax of. t-3 has no influence on
    them, and CLIP is asked about t alone, so streaming computes neither; with `streaming` off both are
    computed, for every clip anew, as the released code does. The candidates are the vocabulary as it is: the
    further name "background" of the released code comes with the protocol vspw-80-44-asreleased.

    Args:
        size: the input size, or a rule of `inputs.RULES`.
        own_clip: the network's CLIP comes from a file of its own, and wins over one that lies in a checkpoint.
    """

    def __init__(
        self,
        network: ReleaseNetwork,
        size: Size | str,
        speed: Speed,
        device: torch.device,
        text_shuffle: int = 0,
        own_clip: bool = False,
    ) -> None:
        super().__init__(speed, device)
        self.network, self.size = network, size
        self.own_clip = self.clip_given = own_clip
        self.trained_on: tuple[str, ...] = ()
        self._shuffle = text_shuffle
        self.maps_pass = speed.compiled(network.maps, device)
        self.clip_pass = speed.compiled(network.clip_tokens, device)

    def prepare(self, vocabulary: Vocabulary) -> None:
        with torch.no_grad():
            self._text = permuted(self.network.text(split_names(vocabulary)), self._shuffle)
        super().prepare(vocabulary)  # last: a vocabulary that was refused is not the prepared one

    def needs(self, target: int, length: int) -> Needs:
        clip, far = released_clip(target), released_far(target, length)
        if self.speed.streaming:
            maps = (clip[0], clip[1], target, far) if len(clip) > 1 else clip
            return Needs(maps=maps, clip=(target,))
        return Needs(maps=(*clip, far), clip=clip if len(clip) > 1 else (far, target))

    def encoder(self, resize: bool) -> _Encoder:
        return _Encoder(self, self.size if resize else "native")

    def target_scores(self, window: FrameWindow, target: int, size: Size) -> Tensor:
        encoder = window.encoder
        assert isinstance(encoder, _Encoder)
        clip = released_clip(target)
        maps, tokens = window.maps(target), window.clip(target)
        if len(clip) == 1:
            logits = self.network.single(maps, tokens, self._text)
        elif self.speed.streaming:
            nine, six = window.maps(clip[0]), window.maps(clip[1])
            logits = self.network.target(self._far(window, target), nine, six, maps, tokens, self._text)
        else:
            logits = self._all_rows(window, clip)
        return release_scores(logits.float(), input_size(encoder.size, window.size()), size)[0]

    def _all_rows(self, window: FrameWindow, clip: tuple[int, ...]) -> Tensor:
        """The target's logits as the released code comes to them: four rows go through the predictor, one is used.

        What guides the decoder in the other rows is dead there; here it is the target's, which costs the same.
        """
        head, maps = self.network.decode_head, window.maps(clip[-1])
        far = self._far(window, clip[-1])
        context = head.context(far, window.maps(clip[0]), window.maps(clip[1]), maps)
        features = head.enhanced(context, far.regions, (int(maps[0].shape[2]), int(maps[0].shape[3])))
        deep = torch.cat([head.deep(window.maps(i)) for i in clip])
        tokens = torch.cat([window.clip(i) for i in clip])
        rows: Tensor = head.predictor(features.expand(len(clip), -1, -1, -1), deep, tokens, self._text)
        return rows[-1:]

    def _far(self, window: FrameWindow, target: int) -> Far:
        far = released_far(target, len(window.video))
        found: Far = window.far(far, lambda: self.network.far(window.maps(far)))
        return found

    def official_names(self) -> dict[str, tuple[int, ...]]:
        """{name: shape} of the 1,513 entries of an official checkpoint."""
        return self.network.official_names()

    def load_official(self, state: Mapping[str, Any]) -> None:
        """Take an official state dict, strictly by name; with or without CLIP's, which stays as it is without.

        Raises:
            UserError: lists what does not fit.
        """
        state = state_of(state)
        if self.own_clip:
            state = {name: value for name, value in state.items() if not name.startswith(_CLIP)}
        inside = any(name.startswith(_CLIP) for name in state)
        if not inside:
            own = self.network.state_dict()
            state = {**state, **{name: value for name, value in own.items() if name.startswith(_CLIP)}}
        self.network.load_official(state)
        self.clip_given = self.clip_given or inside
        self.untrained = not self.clip_given
        if self.prepared is not None:
            self.prepare(self.prepared)

    def facts(self) -> dict[str, Any]:
        size = self.size if isinstance(self.size, str) else "x".join(map(str, self.size))
        facts = {
            "profile": PROFILE,
            "parameters": sum(p.numel() for p in self.network.parameters()),
            "input_size": size,
            "corr_layout": self.network.decode_head.predictor.corr.layout,
            "template_set": "imagenet80",
        }
        remark = trained_though_unseen(self.trained_on, self.vocabulary) if self.prepared else ""
        return {**facts, "remark": remark} if remark else facts


def split_names(vocabulary: Vocabulary) -> Vocabulary:
    """A name "sofa, couch" stands for two words, as in the released code; the templates are the network's own.

    Raises:
        UserError: nothing before, between or behind commas.
    """
    words = [[part for word in group for part in word.split(", ")] for group in vocabulary.synonyms]
    for name, group in zip(vocabulary.names, words, strict=True):
        if not all(part.strip() for part in group):
            raise UserError(
                f"the class name {name!r} has an empty word in it: commas separate words here",
                hint="take the needless comma out",
            )
    return Vocabulary(vocabulary.names, synonyms=words)


class _Encoder:
    """The network's two passes over frames brought to the input size."""

    def __init__(self, segmenter: ReleaseSegmenter, size: Size | str) -> None:
        self._of, self.size = segmenter, size

    def pixels(self, images: Sequence[Image]) -> Tensor:
        return normalise(resize_as_released(upload(images, self._of.device), self.size))

    def maps(self, pixels: Tensor) -> list[Tensor]:
        return self._of.maps_pass(pixels)

    def clip(self, pixels: Tensor) -> Tensor:
        return self._of.clip_pass(pixels)


def build_release(setup: Setup, speed: Speed) -> ReleaseSegmenter:
    """The segmenter of `--variant release`.

    Raises:
        UserError: options of the other profile; weights of another method or profile, or that do not fit; weights
            without CLIP's where no `clip_weights` are given.
    """
    _only_own_options(setup)
    size = parse_size("input_size", setup.options["input_size"], RULES)
    state: Mapping[str, Tensor] | None = None
    trained_on: tuple[str, ...] = ()
    clip = _clip_weights(setup)
    if setup.weights is not None:  # refused before the network is built, which takes a while
        state, header = load_weights(setup.weights)
        check_header(header, setup.weights, PROFILE)
        check_names(state, setup.weights, PROFILE)
        if clip is None and not any(name.startswith(_CLIP) for name in state):
            raise no_clip(CLIP, setup.weights)
        trained_on = tuple(json.loads(header.get("classes", "[]")))
    network = ReleaseNetwork(str(setup.options["corr_layout"]), setup.device)
    if state is None:
        network.fill_by_name()
    if clip is not None:
        network.pair.load_state(clip)
    network.eval().requires_grad_(False)
    shuffle, device = int(setup.options["text_shuffle"]), torch.device(setup.device)
    made = ReleaseSegmenter(network, size, speed, device, shuffle, own_clip=clip is not None)
    if state is not None:
        made.load_official(state)
    made.trained_on = trained_on
    return made


def _clip_weights(setup: Setup) -> Mapping[str, Tensor] | None:
    """CLIP's own weights, where the option names a file ("seeded" is a word of the training)."""
    given = str(setup.options.get("clip_weights", ""))
    return None if given in ("", "seeded") else load_weights(given)[0]


def _only_own_options(setup: Setup) -> None:
    """The released network has one set of sizes; an option that it would not listen to is refused."""
    options = setup.options
    defaults = card(METHOD).options
    foreign = {f.name for f in fields(Config)} - {"input_size"}
    for name in sorted(foreign & set(options)):
        if options[name] != defaults[name]:
            raise UserError(
                f"the released network does not know the option '{name}'",
                where=f"--variant {PROFILE}",
                hint="its sizes and parts are fixed; the paper profile's variants can be changed",
            )
