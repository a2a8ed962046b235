"""NumPy files read strictly and piece by piece: no pickles, no more in memory than one frame."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ovbench.core.errors import UserError

from .masks import MAX_PIXELS

_BROKEN = (OSError, ValueError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError, RuntimeError)
_HINT = "write it again with numpy.save or numpy.savez_compressed, as an integer array"


class ArrayOnDisk:
    """One array of a .npy file or of a member of an .npz file: its shape at once, its contents when asked for.

    Args:
        name: how messages call it.
        open_stream: opens the bytes from the start, seekable.
        size: how many bytes there are.

    Raises:
        UserError: damaged header, an object or structured array, another length than the header says.
    """

    def __init__(self, name: str, open_stream: Callable[[], IO[bytes]], size: int) -> None:
        self.name, self._open = name, open_stream
        self._stream: IO[bytes] | None = None
        with _named(name), open_stream() as stream:
            self.shape, self._fortran, self.dtype = _header(stream)
            self._offset = stream.tell()
        if self.dtype.hasobject or self.dtype.names is not None or self.dtype.kind not in "buif":
            raise UserError(
                f"it holds {_kind(self.dtype)}, not numbers; such arrays are not read",
                where=name,
                hint=_HINT,
            )
        if size - self._offset != prod(self.shape) * self.dtype.itemsize:
            raise UserError(
                f"truncated or damaged array: {size - self._offset:,} bytes of data for {self.dtype} {self.shape}",
                where=name,
                hint=_HINT,
            )
        if len(self.shape) in (2, 3) and prod(self.shape[-2:]) > MAX_PIXELS:
            raise UserError(f"frames of more than {MAX_PIXELS:,} pixels: {self.shape}", where=name)

    def whole(self) -> NDArray[Any]:
        """All of it; nothing stays open."""
        values = self._part(0, self.shape)
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        return values

    def frame(self, index: int) -> NDArray[Any]:
        """(H, W) frame `index` of a (T, H, W) array; in order they are read in one go."""
        if self._fortran:  # its frames are scattered over the file
            return np.ascontiguousarray(self.whole()[index])
        return self._part(index * prod(self.shape[1:]) * self.dtype.itemsize, self.shape[1:])

    def _part(self, start: int, shape: tuple[int, ...]) -> NDArray[Any]:
        with _named(self.name):
            if self._stream is None:
                self._stream = self._open()
            if self._stream.tell() != self._offset + start:
                self._stream.seek(self._offset + start)
            size = prod(shape) * self.dtype.itemsize
            data = self._stream.read(size)
            if len(data) != size:
                raise EOFError("it ends too early")
        flat = np.frombuffer(data, self.dtype)
        return flat.reshape(shape[::-1]).T if self._fortran else flat.reshape(shape)


def open_npy(path: Path) -> ArrayOnDisk:
    """The array of a .npy file; raises `UserError` like `ArrayOnDisk`."""
    with _named(str(path)):
        size = path.stat().st_size
    return ArrayOnDisk(str(path), lambda: open(path, "rb"), size)


class Npz:
    """The arrays of an .npz file by name.

    Raises:
        UserError: no zip file, a name twice, a member that is no array; or `open`: see `ArrayOnDisk`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with _named(str(path)):
            self._zip = zipfile.ZipFile(path)
        self._members: Mapping[str, zipfile.ZipInfo] = {
            info.filename.removesuffix(".npy"): info for info in self._zip.infolist()
        }
        odd = [i.filename for i in self._zip.infolist() if not i.filename.endswith(".npy")]
        if odd or len(self._members) != len(self._zip.infolist()):
            problem = f"'{odd[0]}' in it is no array" if odd else "it holds two arrays of one name"
            raise UserError(f"this is no .npz file of label maps: {problem}", where=path, hint=_HINT)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the arrays, in the order of the file."""
        return tuple(self._members)

    def open(self, name: str) -> ArrayOnDisk:
        """One array."""
        info = self._members[name]
        return ArrayOnDisk(f"{self.path}, array '{name}'", lambda: self._zip.open(info), info.file_size)


class _named:
    """Turns what NumPy, zip and the system raise for a damaged file into one `UserError`."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, _BROKEN):
            raise UserError(f"unreadable array: {error}", where=self.name, hint=_HINT) from error


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = npy.read_magic(stream)
    readers: Mapping[tuple[int, int], Callable[[IO[bytes]], Any]] = {
        (1, 0): npy.read_array_header_1_0,
        (2, 0): npy.read_array_header_2_0,
    }
    if version not in readers:
        raise ValueError(f"array format {version[0]}.{version[1]} is not one for plain numbers")
    shape, fortran, dtype = readers[version](stream)
    if any(n < 0 for n in shape):
        raise ValueError(f"a shape of {shape}")
    return tuple(int(n) for n in shape), bool(fortran), np.dtype(dtype)


def _kind(dtype: np.dtype[Any]) -> str:
    if dtype.hasobject:
        return "Python objects (a pickle)"
    return f"values of type {dtype}"
