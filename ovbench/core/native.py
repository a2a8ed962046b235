"""Compiled kernels, where this installation has them: optional, and never with other results.

`hatch_build.py` compiles every `ovbench/**/_*.c` when a wheel or an editable installation is made. Whoever
calls a kernel also has a way without it that gives identical arrays.
"""

from __future__ import annotations

import importlib
import os
from functools import cache
from pathlib import Path
from types import ModuleType

SUFFIX = ".abi3.so"
"""End of a compiled module's file name: one file serves every CPython from 3.11 on."""
SWITCH = "OVBENCH_NATIVE"
"""Environment variable; "0" turns all kernels off, at run time and when building."""

_NAMES = ("metrics._count", "store._png")

_PACKAGE = Path(__file__).resolve().parent.parent


def kernel(name: str) -> ModuleType | None:
    """The compiled module `ovbench.<name>`, for example `kernel("store._png")`.

    None where it was not compiled, where it is older than its C source (a checkout that moved on), where
    it does not fit this interpreter, or where OVBENCH_NATIVE=0. The switch is looked up at every call.
    """
    return None if os.environ.get(SWITCH) == "0" else _load(name)[0]


def kernel_names() -> tuple[str, ...]:
    """Names that `kernel` takes, compiled or not; a pure wheel, which carries no sources, has them too."""
    return _NAMES


def absent_because(name: str) -> str | None:
    """Why `kernel(name)` is None, as half a sentence; None when it is there."""
    if os.environ.get(SWITCH) == "0":
        return f"{SWITCH}=0"
    return _load(name)[1]


@cache
def _load(name: str) -> tuple[ModuleType | None, str | None]:
    source = _PACKAGE.joinpath(*name.split(".")).with_suffix(".c")
    compiled = source.with_suffix(SUFFIX)
    try:
        age = compiled.stat().st_mtime
    except OSError:
        return None, "not compiled"
    try:
        if source.stat().st_mtime > age:
            return None, "older than its source"
    except OSError:
        pass  # wheels carry no sources
    try:
        return importlib.import_module(f"ovbench.{name}"), None
    except ImportError as error:
        return None, f"cannot be loaded: {error}"
