"""Pre-trained backbones from the files their makers publish: option `backbone_weights`, read when training starts.

Training calls `load_backbone_weights(network, path)` once on the fresh network, before the optimiser is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovbench.core.errors import UserError
from ovbench.nn.backbones import ResNetPyramid, SamPyramid
from ovbench.nn.checkpoint import apply, load_weights

SAM_PREFIX = "image_encoder."
SAM_LEFT_OUT = ("prompt_encoder.", "mask_decoder.")
"""Parts of a stock SAM file that are no backbone."""
RESNET_LEFT_OUT = ("fc.",)
_COUNTER = "num_batches_tracked"  # files older than PyTorch 0.4.1 lack it, and nothing computes with it


def load_backbone_weights(network: nn.Module, path: str | Path) -> str:
    """Fill a network's backbone, strictly by name.

    Args:
        network: of the `paper` profile (`net.backbone`: `sam-vit-b` or `resnet101`) or of `release` (`backbone`).
        path: for SAM's encoder a stock `sam_vit_b` file (segment-anything's names, `image_encoder.*`, or these
            without the prefix); for ResNet-101 a classifier of torchvision or timm. Safetensors or torch file.

    Returns:
        One line that says what was read and what was left out.

    Raises:
        UserError: a backbone that nobody publishes weights for; a file of something else, with the names that
            do not fit. The network is unchanged then.
    """
    backbone = getattr(getattr(network, "net", network), "backbone", None)
    state, _ = load_weights(path)
    try:
        if isinstance(backbone, SamPyramid):
            return _fill(backbone.encoder, *_sam(state, backbone.encoder))
        if isinstance(backbone, ResNetPyramid):
            return _fill(backbone.body, *_without(state, RESNET_LEFT_OUT))
        if isinstance(backbone, nn.Module) and hasattr(getattr(backbone, "patch_embed", None), "projection"):
            kept, out = _sam(state, None)
            return _fill(backbone, _released_names(kept, backbone), out)
    except UserError as error:
        raise UserError(
            f"these are no weights of this backbone: {error.what}",
            where=path,
            hint="sam-vit-b takes a stock SAM ViT-B file, resnet101 a ResNet-101 of torchvision or timm "
            "(`ovbench weights inspect FILE` says what it is)",
        ) from error
    raise UserError(
        f"backbone_weights is for sam-vit-b and resnet101; a {type(backbone).__name__} starts from nothing",
        where=path,
        hint="leave backbone_weights out",
    )


def _fill(module: nn.Module, state: Mapping[str, Tensor], left_out: list[str]) -> str:
    counters = [n for n in (*module.state_dict(), *state) if n.endswith(_COUNTER)]
    apply(module, state, ignore=counters)
    beside = f"; left out: {len(left_out)} of {_parts(left_out)}" if left_out else ""
    return f"backbone: {len(state)} tensors read{beside}"


def _parts(names: list[str]) -> str:
    return ", ".join(dict.fromkeys(name.partition(".")[0] for name in names))


def _without(state: Mapping[str, Tensor], prefixes: tuple[str, ...]) -> tuple[dict[str, Tensor], list[str]]:
    kept = {n: v for n, v in state.items() if not n.startswith(prefixes)}
    return kept, [n for n in state if n not in kept]


def _sam(state: Mapping[str, Tensor], encoder: nn.Module | None) -> tuple[dict[str, Tensor], list[str]]:
    """The encoder's entries without SAM's prefix, tables at the encoder's sizes; what was left out."""
    kept, out = _without(state, SAM_LEFT_OUT)
    if kept and all(n.startswith(SAM_PREFIX) for n in kept):
        kept = {n.removeprefix(SAM_PREFIX): v for n, v in kept.items()}
    own = {} if encoder is None else encoder.state_dict()
    return {n: _adapted(n, v, own.get(n)) for n, v in kept.items()}, out


def _adapted(name: str, value: Tensor, own: Tensor | None) -> Tensor:
    """A position table of another nominal image size, resized as SAM itself would at run time."""
    if own is None or own.ndim != value.ndim or own.shape == value.shape:
        return value
    if name == "pos_embed" and value.ndim == 4 and own.shape[-1] == value.shape[-1]:
        table = value.float().permute(0, 3, 1, 2)
        size = (int(own.shape[1]), int(own.shape[2]))
        return F.interpolate(table, size, mode="bicubic", align_corners=False).permute(0, 2, 3, 1)
    if ".attn.rel_pos_" in name and own.shape[-1] == value.shape[-1]:
        line = value.float().T[None]
        return F.interpolate(line, int(own.shape[0]), mode="linear", align_corners=False)[0].T
    return value


def _released_names(state: Mapping[str, Tensor], backbone: nn.Module) -> dict[str, Tensor]:
    """SAM's names as the released code has them (its config names a stock file, which it does not convert).

    The table lies flat behind a slot for a class token that the network drops again; both are zero here.
    """
    own = backbone.state_dict()
    renamed = {n.replace("patch_embed.proj.", "patch_embed.projection."): v for n, v in state.items()}
    table = renamed.get("pos_embed")
    if table is not None and table.ndim == 4:
        side = round((own["pos_embed"].shape[1] - 1) ** 0.5)
        square = table.new_empty(1, side, side, table.shape[-1])
        flat = _adapted("pos_embed", table, square).flatten(1, 2)
        renamed["pos_embed"] = F.pad(flat, (0, 0, 1, 0))
    if "cls_token" in own:
        renamed.setdefault("cls_token", torch.zeros_like(own["cls_token"]))
    return renamed
