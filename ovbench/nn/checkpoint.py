"""Weights as data from strangers: read without running anything, applied by name or not at all."""

from __future__ import annotations

import json
import math
from collections.abc import Container, Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from ovbench.core.errors import UserError
from ovbench.store.atomic import write_bytes

from .weights_file import dtype_name, listing, read_weights


def load_weights(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a weights file on the CPU.

    Takes safetensors files, torch files that hold nothing but tensors, NumPy arrays and plain values (mmcv's
    `meta` or an optimiser's state may stand beside the weights), and pickles of NumPy arrays. A state dict
    inside `state_dict` or `model` is unwrapped, and a prefix `module.` or `_orig_mod.` common to all names
    removed.

    Returns:
        The tensors by name, and the header's metadata ({} for torch files). They may be mapped from the disk:
        copy them (as `apply` does) before the file can change.

    Raises:
        UserError: no such file; truncated or damaged; a TorchScript archive; a pickle that would run code.
    """
    found = read_weights(path)
    return found.tensors, found.header


def save_weights(path: str | Path, state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors as safetensors, atomically; equal tensors and metadata give equal bytes."""
    write_bytes(path, weights_bytes(state, metadata))


def weights_bytes(state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """The bytes of a safetensors file. The library writes metadata in random order; here it is sorted.

    Half a surrogate pair, which no UTF-8 text can hold, is escaped in metadata ("\\ud800").

    Raises:
        UserError: a tensor's name with half a surrogate pair in it.
    """
    from safetensors.torch import save

    strange = [ascii(name) for name in state if name != _sound(name)]
    if strange:
        raise UserError(listing("name that cannot be written as text", strange), hint="rename these tensors")
    metadata = {_sound(key): _sound(value) for key, value in metadata.items()}
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
    data = save(plain)
    size = int.from_bytes(data[:8], "little")
    header = {"__metadata__": dict(sorted(metadata.items())), **json.loads(data[8 : 8 + size])}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


def _sound(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def not_finite(tensor: Tensor) -> bool:
    """Whether a tensor holds NaN or infinity; False on the meta device, where there are no values."""
    if tensor.is_meta or not tensor.is_floating_point() or not tensor.numel():
        return False
    if tensor.element_size() < 2:  # eight bits: no comparisons of their own
        tensor = tensor.float()
    # One pass and nothing allocated; NaN wins both.
    low, high = torch.aminmax(tensor.detach())
    return not (math.isfinite(float(low)) and math.isfinite(float(high)))


def apply(module: nn.Module, state: Mapping[str, Tensor], *, ignore: Iterable[str] = ()) -> None:
    """Copy `state` into `module`: every name must be there, none left over, every shape equal.

    Values must be numbers: whole numbers or flags for a floating-point parameter, NaN and infinity (but for
    attention masks) are refused.

    Args:
        ignore: names, or prefixes ending in '.', that may be missing or left over.

    Raises:
        UserError: lists what does not fit, by name; the module is unchanged then.
    """
    own = module.state_dict(keep_vars=True)
    skip = tuple(ignore)
    missing = [n for n in own if n not in state and not _ignored(n, skip)]
    unexpected = [n for n in state if n not in own and not _ignored(n, skip)]
    shared = [n for n in own if n in state]
    shapes = [
        f"{n} {tuple(state[n].shape)} instead of {tuple(own[n].shape)}"
        for n in shared
        if state[n].shape != own[n].shape
    ]
    types = [
        f"{n} {dtype_name(state[n])} instead of {dtype_name(own[n])}"
        for n in shared
        if own[n].is_floating_point() and not state[n].is_floating_point()
    ]
    if missing or unexpected or shapes or types:
        parts = [
            *(("missing", missing), ("unexpected", unexpected)),
            *(("wrong shape", shapes), ("wrong type", types)),
        ]
        raise UserError(
            "the weights do not fit the network: " + "; ".join(listing(k, v) for k, v in parts if v),
            hint="give the weights of this very method and variant; `ovbench weights inspect FILE` says whose they "
            "are, and `ovbench weights convert` takes a foreign prefix off",
        )
    strange = [n for n in shared if not n.endswith("mask") and not_finite(state[n])]
    if strange:
        raise UserError(
            listing("tensor with NaN or infinity in it", strange),
            hint="a training that diverged leaves such weights; take an earlier file",
        )
    with torch.no_grad():
        for name in shared:
            own[name].copy_(state[name])


def _ignored(name: str, skip: tuple[str, ...]) -> bool:
    return any(name == s or (s.endswith(".") and name.startswith(s)) for s in skip)


def modern_head_names(state: Mapping[str, Tensor], known: Container[str] | None = None) -> dict[str, Tensor]:
    """Names of a MaskFormer head as they have been since its version 2.

    Before, the pixel decoder's parts stood directly under `sem_seg_head.`; DeOP's loading hook moves them so.
    An old name whose new one is there as well stays, so that nothing is lost and it can be refused.

    Args:
        known: the network's own names, where only those that it has may come out of a change.
    """
    head = "sem_seg_head."
    moved = {}
    for name, value in state.items():
        part = name.removeprefix(head)
        if name.startswith(head) and not part.startswith(("predictor.", "pixel_decoder.")):
            modern = f"{head}pixel_decoder.{part}"
            if modern not in state and (known is None or modern in known):
                name = modern
        moved[name] = value
    return moved
