"""Reading pickles of plain values and NumPy arrays, and nothing that could run code.

Converted backbones of the detectron2 family are such files (`{"model": {name: array}, "__author__": ...}`).
"""

from __future__ import annotations

import _codecs
import collections
import pickle
from collections.abc import Callable
from typing import IO, Any

import numpy as np

TORCH_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""How torch files of the format before 1.6 begin."""

_NUMPY_CORES = ("numpy.core", "numpy._core")  # NumPy 1 and 2 write different ones


class ForbiddenPickle(pickle.UnpicklingError):
    """A pickle names something that is not on the list; `name` says what."""

    def __init__(self, name: str) -> None:
        super().__init__(f"it asks for {name}")
        self.name = name


def allowed_globals() -> dict[str, Any]:
    """What a pickle may name, by full name: the parts of arrays and ordered dictionaries."""
    found: dict[str, Any] = {
        "collections.OrderedDict": collections.OrderedDict,
        "numpy.ndarray": np.ndarray,
        "numpy.dtype": np.dtype,
        "_codecs.encode": _codecs.encode,
    }
    for core in _NUMPY_CORES:
        found[f"{core}.multiarray._reconstruct"] = np.zeros(1).__reduce__()[0]
        found[f"{core}.multiarray.scalar"] = np.float64(0).__reduce__()[0]
        found[f"{core}.numeric._frombuffer"] = np.zeros(1).__reduce_ex__(5)[0]
    return found


class _Restricted(pickle.Unpickler):
    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__(stream, encoding="latin1")  # files written by Python 2 are still around
        self._allowed = allowed_globals()

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if full not in self._allowed:
            raise ForbiddenPickle(full)
        return self._allowed[full]


def read_plain_pickle(stream: IO[bytes]) -> Any:
    """The value of a pickle of plain values and NumPy arrays.

    Raises:
        ForbiddenPickle: it names anything else; nothing of it has run then.
        pickle.UnpicklingError, or another exception that a damaged file causes.
    """
    return _Restricted(stream).load()


def torch_safe_globals() -> list[Any]:
    """The same list for `torch.load(weights_only=True)`: NumPy values beside the tensors of a training state.

    Torch can be told an object's other name since 2.6.
    """
    dtypes: list[Callable[..., Any]] = [type(np.dtype(code)) for code in "?bBhHiIlLqQefdSU"]
    pairs = [(value, name) for name, value in allowed_globals().items()]
    return [*dict.fromkeys(dtypes), np.ndarray, np.dtype, *pairs]
