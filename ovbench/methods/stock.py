"""Well-known files that methods start from: SAM, CLIP, ResNets under the names of torchvision and detectron2."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .fit import Shapes

_CLIPS = (
    *("ViT-B-16", "ViT-B-32", "ViT-L-14", "ViT-L-14-336"),
    *("RN50", "RN101", "RN50x4", "RN50x16", "RN50x64"),
)
_OPENAI_EXTRAS = ("input_resolution", "context_length", "vocab_size")
_SAM = {768: ("vit_b", "ViT-B"), 1024: ("vit_l", "ViT-L"), 1280: ("vit_h", "ViT-H")}


@dataclass(frozen=True)
class Stock:
    """A well-known file, and what it is good for here. `missing` and `left_over` are complete."""

    title: str
    use: str
    matched: int
    missing: tuple[str, ...]
    left_over: tuple[str, ...]


@dataclass(frozen=True)
class _Known:
    title: str
    use: str
    build: Callable[[], Any]
    spare: tuple[str, ...] = ()  # names, prefixes or endings that may be missing or left over
    marks: tuple[str, ...] = field(default=())


def recognise(state: Mapping[str, Tensor]) -> Stock | None:
    """The well-known file that a state dict is, by all its names and shapes; None for any other.

    Only families whose typical names are there are looked at, so that nothing is built in vain.
    """
    for known in _candidates(state):
        with torch.device("meta"):
            names: Shapes = {n: tuple(t.shape) for n, t in known.build().state_dict().items()}
        missing = tuple(n for n in names if n not in state)
        left_over = tuple(n for n in state if n not in names)
        if all(_spare(n, known.spare) for n in (*missing, *left_over)) and all(
            tuple(state[n].shape) == tuple(names[n]) for n in names if n in state
        ):
            shared = len(names) - len(missing)
            return Stock(known.title, known.use, shared, missing, left_over)
    return None


def _spare(name: str, spare: tuple[str, ...]) -> bool:
    return any(name.startswith(s) if s.endswith(".") else name == s or name.endswith("." + s) for s in spare)


def _candidates(state: Mapping[str, Tensor]) -> list[_Known]:
    if "image_encoder.pos_embed" in state:
        return _sams(state["image_encoder.pos_embed"])
    if "token_embedding.weight" in state and "visual.conv1.weight" in state:
        return [_clip(name) for name in _CLIPS if _has_tower(name, state)]
    if "layer1.0.conv1.weight" in state and "conv1.weight" in state:
        return [_torchvision(depth) for depth in ("50", "101", "18", "34", "152")]
    if "stem.conv1.weight" in state and "res2.0.conv1.weight" in state:
        return [_detectron(depth, stem) for depth in (50, 101) for stem in ("basic", "deeplab")]
    return []


def _sams(table: Tensor) -> list[_Known]:
    size, name = _SAM.get(int(table.shape[-1]), ("", ""))
    if not size:
        return []

    def build() -> Any:
        from segment_anything import sam_model_registry

        return sam_model_registry[size]()

    use = f"sam-clip: --variant {size.replace('_', '-')} --weights FILE"
    if size == "vit_b":
        use += "; ov2vss with backbone sam-vit-b, training: --set backbone_weights=FILE"
    return [_Known(f"SAM {name} (segment-anything)", use, build)]


def _has_tower(name: str, state: Mapping[str, Tensor]) -> bool:
    return name.startswith("ViT") == ("visual.class_embedding" in state)


def _clip(name: str) -> _Known:
    def build() -> Any:
        from ovbench.nn.clip import fresh_clip

        return fresh_clip(f"{name}-quickgelu", "meta").model

    use = "methods that look through CLIP: --set clip_weights=FILE"
    if name.startswith("ViT"):
        use += f" (OpenAI's own weights need the name {name}-quickgelu)"
    return _Known(f"CLIP {name} (OpenAI's names)", use, build, _OPENAI_EXTRAS)


def _torchvision(depth: str) -> _Known:
    def build() -> Any:
        import torchvision

        return getattr(torchvision.models, f"resnet{depth}")(weights=None)

    use = "ov2vss with backbone resnet101, training: --set backbone_weights=FILE" if depth == "101" else ""
    return _Known(f"ResNet-{depth} (torchvision, timm)", use, build, ("fc.", "num_batches_tracked"))


def _detectron(depth: int, stem: Any) -> _Known:
    def build() -> Any:
        from ovbench.nn.resnet import ResNet

        return ResNet(depth, stem)

    use = "deop, freeseg, zegformer and zsseg, training: --set backbone_weights=FILE"
    kind = ", deep stem" if stem == "deeplab" else ""
    spare = ("fc.", "stem.fc.", "num_batches_tracked")
    return _Known(f"ResNet-{depth}{kind} (detectron2's names)", use, build, spare)
