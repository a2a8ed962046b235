"""What lies in a weights file: read without running anything, told apart by format and by what wrote it."""

from __future__ import annotations

import datetime
import hashlib
import json
import pickle
import re
import zipfile
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ovbench.core.errors import UserError

from .pickles import TORCH_MAGIC, ForbiddenPickle, read_plain_pickle, torch_safe_globals

WRAPPERS = ("state_dict", "model", "model_state_dict")
"""Keys under which tools put the state dict; what stands beside it is `WeightsFile.beside`."""
PREFIXES = ("module.", "_orig_mod.")
"""What wrappers of a module put before every name (data-parallel training, torch.compile)."""
_SHOWN = 6
_DATES = (datetime.datetime, datetime.date, datetime.time, datetime.timedelta, datetime.timezone)


@dataclass(frozen=True)
class WeightsFile:
    """A weights file, read.

    `tensors` by name, unwrapped and without a wrapper's prefix; of torch's zip files they are mapped from the
    disk, so copy what is to outlive the file. `header` is the metadata of safetensors. `beside` is what stood
    beside the state dict: mmcv's `meta`, an optimiser's state, counters.
    """

    path: Path
    format: str  # "safetensors", "torch zip", "torch before 1.6" or "pickle of arrays"
    tensors: dict[str, Tensor]
    header: dict[str, str] = field(default_factory=dict)
    wrapper: str = ""  # the key that held the state dict
    prefix: str = ""  # what was taken off all names
    beside: dict[str, Any] = field(default_factory=dict)

    @property
    def writer(self) -> str:
        """The tool that wrote it, as far as its layout tells; "" for a bare state dict."""
        if "pytorch-lightning_version" in self.beside:
            return "PyTorch Lightning checkpoint"
        if self.wrapper == "state_dict" and isinstance(self.beside.get("meta"), dict):
            return "mmcv checkpoint"
        if self.wrapper == "model" and self.beside.keys() & {
            "matching_heuristics",
            "__author__",
            "iteration",
        }:
            return "detectron2 checkpoint"
        return "checkpoint" if self.beside else ""

    @property
    def meta(self) -> dict[str, Any]:
        """mmcv's `meta`; {} in other files."""
        found = self.beside.get("meta")
        return {str(k): v for k, v in found.items()} if isinstance(found, dict) else {}


def read_weights(path: str | Path) -> WeightsFile:
    """Read a weights file on the CPU; see `checkpoint.load_weights` for what is taken and refused."""
    path = Path(path)
    if not path.is_file():
        raise UserError("there is no weights file here", where=path)
    with open(path, "rb") as stream:
        head = stream.read(9)
    if not head:
        raise damaged(path, "it is empty")
    if head[8:9] == b"{":
        return _read_safetensors(path)
    form, value = _read_torch(path)
    return _unwrapped(path, form, value)


def state_hash(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes, in the order of the names: equal before and after conversion."""
    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {dtype_name(value)} {tuple(value.shape)}\n".encode("utf-8", "surrogatepass"))
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def dtype_name(tensor: Tensor) -> str:
    """ "float32", "int64", ..."""
    return str(tensor.dtype).removeprefix("torch.")


def damaged(path: Path, why: str) -> UserError:
    """The error for a file that is none."""
    return UserError(
        f"the weights file is damaged or of an unknown format: {why}",
        where=path,
        hint="compare its size or checksum with the source and fetch it again",
    )


def listing(kind: str, names: list[str]) -> str:
    """ "3 missing (a, b, c)", cut after a few."""
    shown = ", ".join(names[:_SHOWN])
    more = f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{len(names)} {kind} ({shown}{more})"


def _read_safetensors(path: Path) -> WeightsFile:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as stream:
            state = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
            return WeightsFile(path, "safetensors", state, dict(stream.metadata() or {}))
    except SafetensorError as error:
        why = str(error)
        size = path.stat().st_size
        if size < (needed := _needed_bytes(path)):
            why = f"it ends too early: {size} bytes of {needed}"
        raise damaged(path, why) from error


def _needed_bytes(path: Path) -> int:
    """How long a safetensors file must be by its own header (the header alone, where that is cut too)."""
    size = path.stat().st_size
    with open(path, "rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 + length:
            return 8 + length
        try:
            entries = json.loads(stream.read(length))
            ends = [v["data_offsets"][1] for k, v in entries.items() if k != "__metadata__"]
            return 8 + length + max(ends, default=0)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError):
            return 0


def _read_torch(path: Path) -> tuple[str, Any]:
    """The format and the value of a torch file or a pickle."""
    magic = _head(path, len(TORCH_MAGIC))
    zipped = zipfile.is_zipfile(path)
    if zipped:
        _refuse_torchscript(path)
    elif magic.startswith(b"PK\x03\x04"):
        raise damaged(path, "it ends too early (an archive without its table of contents)")
    elif magic != TORCH_MAGIC:
        return "pickle of arrays", _read_pickle(path)
    try:
        with _numpy_allowed():
            return ("torch zip" if zipped else "torch before 1.6"), _load(path, zipped)
    except pickle.UnpicklingError as error:
        if "weights_only" in str(error).lower() or "weights only" in str(error).lower():
            raise _refused(path, _named(str(error))) from error
        raise damaged(path, "not a weights file") from error
    except (RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise damaged(path, str(error).splitlines()[0] if str(error) else "it ends too early") from error


def _load(path: Path, zipped: bool) -> Any:
    # Mapped where possible: a copy in memory beside the module's own would double what loading needs.
    # torch chooses its reader by the file's name, except for a stream; only a path can be mapped.
    if zipped and path.suffix != ".safetensors":
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    with open(path, "rb") as stream:
        return torch.load(stream, map_location="cpu", weights_only=True)


def _refuse_torchscript(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        if any("/code/" in name or name.endswith("constants.pkl") for name in archive.namelist()):
            raise UserError(
                "this is a TorchScript archive (OpenAI publishes its CLIP files so): it carries code",
                where=path,
                hint="save its tensors once: safetensors.torch.save_file("
                "torch.jit.load(FILE, 'cpu').state_dict(), NEW), if you trust its source",
            )


def _numpy_allowed() -> AbstractContextManager[Any]:
    """NumPy values and dates beside tensors can be read since torch 2.6; before, such files are refused."""
    major, minor = (int(part) for part in torch.__version__.split(".")[:2])
    if (major, minor) < (2, 6):
        return nullcontext()
    return torch.serialization.safe_globals([*torch_safe_globals(), *_DATES])


def _read_pickle(path: Path) -> Any:
    try:
        with open(path, "rb") as stream:
            return read_plain_pickle(stream)
    except ForbiddenPickle as error:
        raise _refused(path, error.name) from error
    # What a stream of random bytes makes the unpickler say is not documented; nothing of it is trusted.
    except Exception as error:
        raise damaged(path, "not a weights file") from error


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
        hint="give the weights as safetensors, or as a torch file of nothing but a state dict; where it stands "
        "beside the weights only (in `meta`, say), and you trust the source, write them anew: "
        "torch.save(torch.load(FILE, 'cpu', weights_only=False)['state_dict'], NEW)",
    )


def state_of(value: Any) -> dict[str, Tensor]:
    """The tensors by name of what a weights file would hold, as `read_weights` takes them out of one.

    Args:
        value: tensors or NumPy arrays by name, bare or under one of `WRAPPERS`, with `PREFIXES` or without.

    Raises:
        UserError: anything else; lists the entries that are not tensors.
    """
    plain = dict(value) if isinstance(value, Mapping) else value
    try:
        return _unwrapped(Path(), "", plain).tensors
    except UserError as error:
        what = error.what.replace("the file holds", f"this {type(value).__name__} holds")
        raise UserError(what, hint="give module.state_dict()") from error


def _unwrapped(path: Path, form: str, value: Any) -> WeightsFile:
    wrapper, beside = "", {}
    for key in WRAPPERS:
        if isinstance(value, dict) and isinstance(value.get(key), dict):
            wrapper, beside = key, {str(k): v for k, v in value.items() if k != key}
            value = value[key]
            break
    if not isinstance(value, dict) or not value:
        raise UserError("the file holds no state dict", where=path, hint="save module.state_dict()")
    state = {str(k): _tensor(v) for k, v in value.items()}
    strange = [k for k, v in state.items() if not isinstance(v, Tensor) or v.layout != torch.strided]
    if strange:
        raise UserError(
            listing("entry that is not a (dense) tensor", strange),
            where=path,
            hint="save module.state_dict()",
        )
    prefix = ""
    while taken := next((p for p in PREFIXES if all(k.startswith(p) for k in state)), ""):
        state = {k.removeprefix(taken): v for k, v in state.items()}
        prefix += taken
    return WeightsFile(path, form, state, {}, wrapper, prefix, beside)


def _tensor(value: Any) -> Any:
    """Numeric NumPy values as tensors; anything else as it is."""
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biuf":
        array = np.array(value)
        return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False))
    return value
