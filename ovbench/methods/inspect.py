"""What a weights file is, for whom, and the same as safetensors."""

from __future__ import annotations

import datetime
import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ovbench import __version__
from ovbench.core.errors import UserError
from ovbench.core.hashing import hash_file
from ovbench.nn.checkpoint import not_finite, save_weights
from ovbench.nn.weights_file import WeightsFile, dtype_name, read_weights, state_hash

from .fit import Fit, best_fits, without
from .stock import Stock, recognise

_LONG = 160  # characters of a value that are shown
_DEEP = 3


@dataclass(frozen=True)
class Report:
    """Everything that `ovbench weights inspect` says."""

    file: WeightsFile
    sha256: str
    state_sha256: str
    stock: Stock | None
    fits: tuple[Fit, ...]
    not_finite: tuple[str, ...] = ()  # tensors with NaN or infinity in them

    @property
    def known(self) -> bool:
        """Whether it is a file that some method takes, or a well-known one."""
        return self.stock is not None or any(fit.loads for fit in self.fits)

    @property
    def types(self) -> dict[str, int]:
        """Tensors by type."""
        return dict(sorted(Counter(dtype_name(t) for t in self.file.tensors.values()).items()))

    @property
    def bytes(self) -> int:
        """Of all tensors."""
        return sum(t.numel() * t.element_size() for t in self.file.tensors.values())

    @property
    def parameters(self) -> int:
        """Numbers in all tensors (buffers such as running means included)."""
        return sum(t.numel() for t in self.file.tensors.values())

    def to_dict(self) -> dict[str, Any]:
        """As `--json` prints it; lists of names are complete."""
        fits = [
            {
                "method": f.method,
                "variant": f.variant,
                "profile": f.profile,
                "loads": f.loads,
                "remark": f.remark,
                "strip_prefix": f.prefix,
                "matched": f.matched,
                "missing": list(f.missing),
                "left_over": list(f.left_over),
                "wrong_shape": list(f.wrong),
                "also": list(f.also),
            }
            for f in self.fits
        ]
        stock = self.stock and {
            "title": self.stock.title,
            "use": self.stock.use,
            "missing": list(self.stock.missing),
            "left_over": list(self.stock.left_over),
        }
        return {
            "file": str(self.file.path),
            "format": self.file.format,
            "written_by": self.file.writer,
            "wrapper": self.file.wrapper,
            "prefix": self.file.prefix,
            "file_bytes": self.file.path.stat().st_size,
            "sha256": self.sha256,
            "state_sha256": self.state_sha256,
            "tensors": len(self.file.tensors),
            "parameters": self.parameters,
            "tensor_bytes": self.bytes,
            "types": self.types,
            "header": self.file.header,
            "meta": shown_meta(self.file.meta),
            "beside": [key for key in self.file.beside if key != "meta"],
            "not_finite": list(self.not_finite),
            "stock": stock,
            "fits": fits,
            "known": self.known,
        }


def inspect(path: str | Path, method: str = "", variant: str = "") -> Report:
    """Read a file and tell what it is.

    Args:
        method, variant: compare with these alone.

    Raises:
        UserError: a file that cannot be read (see `ovbench.nn.checkpoint.load_weights`); unknown names.
    """
    file = read_weights(path)
    fits = best_fits(file.tensors, file.header, method, variant)
    stock = recognise(file.tensors)
    strange = tuple(name for name, value in file.tensors.items() if not_finite(value))
    return Report(file, hash_file(file.path), state_hash(file.tensors), stock, tuple(fits), strange)


def convert(
    path: str | Path, out: str | Path, method: str = "", variant: str = "", force: bool = False
) -> tuple[Report, Report]:
    """Write a file's tensors as safetensors, with what is known about them in the header.

    Names are kept, except for a prefix that no network has (a wrapper's, Lightning's `model.`). Left out is what
    is no tensor of the network: an optimiser's state, counters. Shared tensors are written once each.

    Args:
        method, variant: say whose weights they are; they must fit then.
        force: overwrite `out`.

    Returns:
        The reports of the file and of the written one.

    Raises:
        UserError: `out` exists or is the file itself; the weights do not fit the method that is named.
    """
    out = Path(out)
    if out.exists() and not force:
        raise UserError("there is a file here already", where=out, hint="--force overwrites it")
    if out.exists() and out.samefile(path):
        raise UserError("the converted file cannot be the file itself", where=out)
    report = inspect(path, method, variant)
    fit = next((fit for fit in report.fits if fit.loads), None)
    if method and fit is None:
        near = report.fits[0].remark if report.fits else "they share hardly a name"
        raise UserError(
            f"these are no weights of {method}{':' if variant else ''}{variant}: {near}", where=path
        )
    state = without(report.file.tensors, fit.prefix if fit else "")
    save_weights(out, state, _metadata(report, fit, variant))
    written = read_weights(out)
    after = Report(
        written, hash_file(out), state_hash(written.tensors), report.stock, report.fits, report.not_finite
    )
    return report, after


def _metadata(report: Report, fit: Fit | None, variant: str) -> dict[str, str]:
    """The header: the source's own entries, then what was found. A variant only where no other fits as well."""
    file = report.file
    found = dict(file.header)
    found |= {f"meta.{key}": _text(value) for key, value in file.meta.items()}
    if fit is not None:
        found.setdefault("method", fit.method)
        if fit.profile:
            found.setdefault("profile", fit.profile)
        if variant or not fit.also:
            found.setdefault("variant", variant or fit.variant)
    elif report.stock is not None:
        found["stock"] = report.stock.title
    found |= {
        "source_file": file.path.name,
        "source_sha256": report.sha256,
        "source_format": ", ".join(part for part in (file.format, file.writer) if part),
        "ovbench_version": __version__,
    }
    return {key: value for key, value in found.items() if value}


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(_plain(value, 0, None), ensure_ascii=False, sort_keys=True)


def shown_meta(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values of mmcv's `meta`, long ones cut, arrays and strange things by their type alone."""
    return {str(key): _plain(value, 0, _LONG) for key, value in meta.items()}


def _plain(value: Any, depth: int, limit: int | None) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no word for it
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, bytes | bytearray | complex):
        value = repr(value)
    if isinstance(value, datetime.date | datetime.time):
        value = value.isoformat()
    if isinstance(value, datetime.timedelta | datetime.tzinfo):
        value = str(value)
    if isinstance(value, str):
        return (
            value if limit is None or len(value) <= limit else f"{value[:limit]}... ({len(value)} characters)"
        )
    if isinstance(value, np.ndarray | Tensor):
        if limit is None and isinstance(value, np.ndarray):
            return _plain(value.tolist(), depth, None)
        return f"array {tuple(value.shape)} {value.dtype}"
    if depth >= _DEEP and limit is not None:
        return f"({type(value).__name__})"
    if isinstance(value, Mapping):
        return {str(k): _plain(v, depth + 1, limit) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(v, depth + 1, limit) for v in value]
    return f"({type(value).__name__})"
