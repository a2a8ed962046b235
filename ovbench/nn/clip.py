"""Two-tower models by name: any open_clip model with its own ViT or ResNet, and the two embedded ones."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ovbench.core.errors import UserError, missing_extra
from ovbench.core.hashing import hash_file
from ovbench.core.paths import room
from ovbench.core.types import Image

from .checkpoint import apply, load_weights
from .seeded import fill_by_name

OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)
UNTRAINED = "name-seeded"

_OPENAI_EXTRAS = ("input_resolution", "context_length", "vocab_size")


@dataclass
class ClipPair:
    """An image tower and a text tower that share a space, frozen, in evaluation mode.

    `weights_id` identifies the weights (SHA-256 of their file; without one "name-seeded" and a hash of the
    values) and is part of the key under which text vectors are cached; None: they are never cached. Set it to
    None when the weights change in place.
    """

    name: str
    model: Any  # an open_clip.CLIP
    tokenizer: Callable[..., Tensor]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    weights_id: str | None
    device: torch.device

    def normalize(self, image: Image) -> Tensor:
        """(H, W, 3) uint8 RGB -> (1, 3, H, W) float32 on the model's device, with the model's statistics."""
        pixels = torch.from_numpy(np.array(image)).to(self.device).permute(2, 0, 1)[None].float() / 255
        mean = torch.tensor(self.mean, device=self.device).view(3, 1, 1)
        return (pixels - mean) / torch.tensor(self.std, device=self.device).view(3, 1, 1)

    def load_state(self, state: Mapping[str, Tensor], weights_id: str | None = None) -> None:
        """Take weights by official name, strictly; raises `UserError` listing the names that do not fit."""
        apply(self.model, state, ignore=_OPENAI_EXTRAS)
        self.weights_id = weights_id or hash_state(state)

    def seed(self) -> None:
        """Fill with name-seeded weights, in place. The id holds a hash: rules of filling may change."""
        if self.name != "tiny":  # comes filled
            fill_by_name(self.model)
        self.weights_id = f"{UNTRAINED} {hash_state(self.model.state_dict())}"


def load_clip(
    model: str, weights: Path | None = None, device: str = "cpu", *, untrained: bool = False
) -> ClipPair:
    """Build a two-tower model and fill it.

    Args:
        model: "world" (embedded, knows the world's words), "tiny" (embedded, any word, never pre-trained), or
            an open_clip name such as "ViT-B-16-quickgelu". OpenAI's weights need a name ending in -quickgelu.
        weights: safetensors or torch file with the model's own (= OpenAI's) names. Without it "world" takes
            its shipped file and "tiny" name-seeded weights.
        untrained: name-seeded weights whatever the model.

    Raises:
        UserError: an unknown or unsupported model, no weights, or weights that do not fit.
    """
    pair = _build(model)
    if weights is None and not untrained and model != "tiny":
        weights = _shipped(model)
    if weights is None:
        pair.seed()
    else:
        state, _ = load_weights(weights)
        pair.load_state(state, hash_file(Path(weights)))
    return _frozen(pair, device)


def fresh_clip(model: str, device: str = "cpu") -> ClipPair:
    """A two-tower model for a network whose own weights will fill it; until then its text is never cached."""
    return _frozen(_build(model), device)


def _frozen(pair: ClipPair, device: str) -> ClipPair:
    pair.device = torch.device(device)
    pair.model.eval().requires_grad_(False).to(pair.device)
    return pair


def no_clip(name: str, where: Path) -> UserError:
    """The error for a checkpoint without CLIP `name` where no file of it was given either."""
    return UserError(
        "this checkpoint holds no CLIP, and none was given",
        where=where,
        hint=f"--set clip_weights=FILE with the weights of {name} under OpenAI's names "
        "(safetensors, or a torch file of a state dict)",
    )


def hash_state(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, shapes and values (as float32) of a state dict, in the order of the names.

    Tensors on the meta device, which have no values, count with name and shape.
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(f"{name}{tuple(state[name].shape)}".encode())
        if not state[name].is_meta:
            digest.update(state[name].detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _shipped(model: str) -> Path:
    path = room("baselines") / "world_clip" / "weights.safetensors"
    if model == "world" and path.is_file():
        return path
    raise UserError(
        f"the two-tower model '{model}' needs a weights file, and none was given",
        where=path if model == "world" else None,
        hint="give one with --weights (safetensors, or a torch file of a state dict), or try --untrained",
    )


def _build(name: str) -> ClipPair:
    try:
        import open_clip  # noqa: F401
    except ImportError:
        raise missing_extra("open_clip_torch", "models") from None
    cpu = torch.device("cpu")
    if name == "world":
        from .world_clip import MEAN, STD, WordTokenizer, build_world_clip, load_words

        model = build_world_clip()
        words = WordTokenizer(load_words(), model.context_length)
        return ClipPair(name, model, words, MEAN, STD, None, cpu)
    if name == "tiny":
        from .tiny_clip import HashTokenizer, build_tiny_clip
        from .world_clip import MEAN, STD

        return ClipPair(name, build_tiny_clip(), HashTokenizer(), MEAN, STD, None, cpu)
    model, tokenizer = _build_open_clip(name)
    return ClipPair(name, model, tokenizer, OPENAI_MEAN, OPENAI_STD, None, cpu)


def _build_open_clip(name: str) -> tuple[Any, Callable[..., Tensor]]:
    import open_clip
    from open_clip.model import CLIP, CustomTextCLIP
    from open_clip.tokenizer import SimpleTokenizer

    config = open_clip.get_model_config(name)
    if config is None:
        raise _unknown_model(name, open_clip.list_models())
    text, vision = config["text_cfg"], config["vision_cfg"]
    foreign = [k for k in ("timm_model_name", "hf_model_name") if k in vision or k in text]
    if foreign or "hf_tokenizer_name" in text or "multimodal_cfg" in config:
        raise UserError(
            f"the open_clip model '{name}' is built on parts from elsewhere (timm or a hub)",
            hint="take one with open_clip's own ViT or ResNet tower, e.g. ViT-B-16-quickgelu",
        )
    custom = config.pop("custom_text", False)
    model = (CustomTextCLIP if custom else CLIP)(**config)
    options = text.get("tokenizer_kwargs", {})
    return model, _tokenizer(SimpleTokenizer, text.get("context_length", 77), **options)


@cache
def _tokenizer(make: Callable[..., Any], length: int, **options: Any) -> Callable[..., Tensor]:
    """One tokenizer for all models of a process: making it takes longer than the model's modules."""
    made: Callable[..., Tensor] = make(context_length=length, **options)
    return made


def _unknown_model(name: str, known: Sequence[str]) -> UserError:
    near = difflib.get_close_matches(name, known, n=4, cutoff=0.3)
    guess = f"did you mean {', '.join(near)}? " if near else ""
    return UserError(
        f"unknown two-tower model '{name}'",
        hint=f"{guess}Known: world, tiny, and the {len(known)} names of open_clip.list_models()",
    )
