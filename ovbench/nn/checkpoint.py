"""Weights as data from strangers: read without running anything, applied by name or not at all."""

from __future__ import annotations

import json
import pickle
import re
import zipfile
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ovbench.core.errors import UserError
from ovbench.store.atomic import write_bytes

from .pickles import TORCH_MAGIC, ForbiddenPickle, read_plain_pickle, torch_safe_globals

_WRAPPERS = ("state_dict", "model", "model_state_dict")
_SHOWN = 6


def load_weights(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a weights file on the CPU.

    Takes safetensors files, torch files that hold nothing but tensors, NumPy arrays and plain values (an
    optimiser's state may stand beside the weights), and pickles of NumPy arrays. A state dict inside
    `state_dict` or `model` is unwrapped, and a `module.` prefix common to all names removed.

    Returns:
        The tensors by name, and the header's metadata ({} for torch files).

    Raises:
        UserError: no such file; truncated or damaged; a TorchScript archive; a pickle that would run code.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError("there is no weights file here", where=path)
    with open(path, "rb") as stream:
        head = stream.read(9)
    if head[8:9] == b"{":
        return _load_safetensors(path)
    return _plain_state(_load_torch(path), path), {}


def save_weights(path: str | Path, state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors as safetensors, atomically; equal tensors and metadata give equal bytes."""
    write_bytes(path, weights_bytes(state, metadata))


def weights_bytes(state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """The bytes of a safetensors file. The library writes metadata in random order; here it is sorted."""
    from safetensors.torch import save

    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
    data = save(plain)
    size = int.from_bytes(data[:8], "little")
    header = {"__metadata__": dict(sorted(metadata.items())), **json.loads(data[8 : 8 + size])}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


def apply(module: nn.Module, state: Mapping[str, Tensor], *, ignore: Iterable[str] = ()) -> None:
    """Copy `state` into `module`: every name must be there, none left over, every shape equal.

    Args:
        ignore: names, or prefixes ending in '.', that may be missing or left over.

    Raises:
        UserError: lists missing, unexpected and wrongly shaped names; the module is unchanged then.
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
    if missing or unexpected or shapes:
        parts = [("missing", missing), ("unexpected", unexpected), ("wrong shape", shapes)]
        raise UserError(
            "the weights do not fit the network: " + "; ".join(_listing(k, v) for k, v in parts if v),
            hint="give the weights of this very method and variant (`ovbench methods` lists them)",
        )
    with torch.no_grad():
        for name in shared:
            own[name].copy_(state[name])


def _ignored(name: str, skip: tuple[str, ...]) -> bool:
    return any(name == s or (s.endswith(".") and name.startswith(s)) for s in skip)


def _listing(kind: str, names: list[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    more = f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{len(names)} {kind} ({shown}{more})"


def _load_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as stream:
            state = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
            return state, dict(stream.metadata() or {})
    except SafetensorError as error:
        raise _damaged(path, str(error)) from error


def _load_torch(path: Path) -> Any:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any("/code/" in name or name.endswith("constants.pkl") for name in archive.namelist()):
                raise UserError(
                    "this is a TorchScript archive (OpenAI publishes its CLIP files so): it carries code",
                    where=path,
                    hint="save its tensors once: safetensors.torch.save_file("
                    "torch.jit.load(FILE, 'cpu').state_dict(), NEW), if you trust its source",
                )
    elif _head(path, len(TORCH_MAGIC)) != TORCH_MAGIC:
        return _load_pickle(path)
    try:
        # A stream: torch would choose its reader by the file's name.
        with open(path, "rb") as stream, _numpy_allowed():
            return torch.load(stream, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "weights_only" in str(error).lower() or "weights only" in str(error).lower():
            raise _refused(path, _named(str(error))) from error
        raise _damaged(path, "not a weights file") from error
    except (RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise _damaged(path, str(error).splitlines()[0] if str(error) else "it ends too early") from error


def _numpy_allowed() -> AbstractContextManager[Any]:
    """NumPy values beside tensors can be read since torch 2.6; before, such files are refused."""
    major, minor = (int(part) for part in torch.__version__.split(".")[:2])
    if (major, minor) < (2, 6):
        return nullcontext()
    return torch.serialization.safe_globals(torch_safe_globals())


def _load_pickle(path: Path) -> Any:
    try:
        with open(path, "rb") as stream:
            return read_plain_pickle(stream)
    except ForbiddenPickle as error:
        raise _refused(path, error.name) from error
    # What a stream of random bytes makes the unpickler say is not documented; nothing of it is trusted.
    except Exception as error:
        raise _damaged(path, "not a weights file") from error


def _head(path: Path, size: int) -> bytes:
    with open(path, "rb") as stream:
        return stream.read(size)


def _named(message: str) -> str:
    """What torch's refusal is about ("... GLOBAL posix.mkdir was not an allowed global ...")."""
    found = re.search(r"GLOBAL (\S+)", message)
    return found.group(1) if found else ""


def _refused(path: Path, what: str) -> UserError:
    asks = f" (it asks for {what})" if what else ""
    return UserError(
        f"refused: this file is a pickle that holds more than tensors, and reading it could run code{asks}",
        where=path,
        hint="give the weights as safetensors, or as a torch file of nothing but a state dict",
    )


def _damaged(path: Path, why: str) -> UserError:
    return UserError(
        f"the weights file is damaged or of an unknown format: {why}",
        where=path,
        hint="compare its size or checksum with the source and fetch it again",
    )


def _plain_state(value: Any, path: Path) -> dict[str, Tensor]:
    for key in _WRAPPERS:
        if isinstance(value, dict) and isinstance(value.get(key), dict):
            value = value[key]
            break
    if not isinstance(value, dict) or not value:
        raise UserError("the file holds no state dict", where=path, hint="save module.state_dict()")
    value = {k: _tensor(v) for k, v in value.items()}
    strange = [str(k) for k, v in value.items() if not isinstance(v, Tensor)]
    if strange:
        raise UserError(
            _listing("entry that is not a tensor", strange), where=path, hint="save module.state_dict()"
        )
    if all(str(k).startswith("module.") for k in value):
        return {str(k).removeprefix("module."): v for k, v in value.items()}
    return {str(k): v for k, v in value.items()}


def _tensor(value: Any) -> Any:
    """Numeric NumPy values as tensors; anything else as it is."""
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biuf":
        array = np.array(value)
        return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False))
    return value


def modern_head_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names of a MaskFormer head as they have been since its version 2.

    Before, the pixel decoder's parts stood directly under `sem_seg_head.`; DeOP's loading hook moves them so.
    """
    head = "sem_seg_head."
    moved = {}
    for name, value in state.items():
        part = name.removeprefix(head)
        if name.startswith(head) and not part.startswith(("predictor.", "pixel_decoder.")):
            name = f"{head}pixel_decoder.{part}"
        moved[name] = value
    return moved
