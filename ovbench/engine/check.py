"""What this installation can do: the findings of `ovbench doctor`."""

from __future__ import annotations

import importlib
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

from ovbench.core.errors import OvbenchError, install_extra
from ovbench.core.hashing import hash_file
from ovbench.core.paths import cache_dir

from .environment import hardware, package_version

_BASE = ("numpy", "pillow", "click", "pandas", "matplotlib", "rich")
_MODELS = ("torch", "torchvision", "open_clip", "timm", "safetensors")
_EXTRAS = {
    "flow": (("opencv-python-headless",), "needed for --flow dis and farneback"),
    "export": (("pycocotools", "pyarrow"), "needed to export run lengths and Parquet"),
}
_DISTRIBUTIONS = {"open_clip": "open_clip_torch"}


@dataclass(frozen=True)
class Check:
    """One line of the report. `level`: "ok", "absent" (an extra that is not there) or "problem"."""

    level: str
    what: str
    hint: str = ""


def checks() -> Iterator[Check]:
    """All checks in order; nothing is changed on disk apart from a probe in the cache folder."""
    yield _python()
    for name in _BASE:
        yield _package(name)
    yield from _models()
    yield from _extras()
    yield from _reading()
    machine = hardware()
    yield Check(
        "ok", f"{machine['cores']} usable cores, {machine['memory_gib']} GiB memory, {machine['cpu']}"
    )
    yield _cache()
    yield from _protocols()
    yield from _methods()
    yield _world()


def _python() -> Check:
    text = f"Python {platform.python_version()}"
    return (
        Check("ok", text)
        if sys.version_info >= (3, 11)
        else Check("problem", text, "3.11 or later is needed")
    )


def _package(name: str) -> Check:
    found = package_version(name)
    if found is None:
        return Check("problem", f"{name} is not installed", f"{sys.executable} -m pip install {name}")
    return Check("ok", f"{name} {found}")


def _models() -> Iterator[Check]:
    absent = [n for n in _MODELS if package_version(_DISTRIBUTIONS.get(n, n)) is None]
    if absent:
        yield Check(
            "absent",
            f"extra 'models' is incomplete: no {', '.join(absent)} (control rows and score work)",
            install_extra("models"),
        )
    for name in _MODELS:
        if name not in absent:
            yield _importable(name)
    if "torch" not in absent:
        yield _gpu()


def _extras() -> Iterator[Check]:
    """The small extras: what each is for, and whether it is here."""
    for extra, (packages, use) in _EXTRAS.items():
        absent = [name for name in packages if package_version(name) is None]
        if absent:
            what = f"extra '{extra}' is incomplete: no {', '.join(absent)} ({use})"
            yield Check("absent", what, install_extra(extra))
        else:
            found = ", ".join(f"{name} {package_version(name)}" for name in packages)
            yield Check("ok", f"extra '{extra}': {found}")


def _importable(name: str) -> Check:
    label = f"{name} {package_version(_DISTRIBUTIONS.get(name, name))}"
    try:
        importlib.import_module(name)
    except (ImportError, OSError, RuntimeError) as error:
        hint = "torch and torchvision must fit together: install both again from one source"
        return Check("problem", f"{label} cannot be imported: {error}", hint)
    return Check("ok", f"{label} can be imported")


def _gpu() -> Check:
    try:
        torch = importlib.import_module("torch")
    except (ImportError, OSError):
        return Check("absent", "GPU not asked for: torch cannot be imported")
    if torch.cuda.is_available():
        return Check("ok", f"GPU: {torch.cuda.get_device_name()}")
    return Check("ok", "no GPU that torch can use; methods run on the CPU")


def _reading() -> Iterator[Check]:
    """Which of the optional, faster ways are active; every one gives the same numbers."""
    from ovbench.core.native import SWITCH, absent_because, kernel_names
    from ovbench.store.png import route

    for name in kernel_names():
        reason = absent_because(name)
        if reason is None:
            yield Check("ok", f"compiled kernel {name}")
        else:
            hint = "in a checkout: python hatch_build.py; otherwise install a C compiler, then ovbench again"
            hint = f"unset {SWITCH}" if reason.startswith(SWITCH) else hint
            yield Check("absent", f"compiled kernel {name}: {reason} (slower, same results)", hint)
    if package_version("deflate") is None:
        what = "extra 'fast' (libdeflate) is not installed (slower, same results)"
        yield Check("absent", what, install_extra("fast"))
    yield Check("ok", f"masks are read by {route()}")


def _cache() -> Check:
    folder = cache_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder):
            pass
    except OSError as error:
        return Check(
            "problem", f"the cache folder cannot be written: {error.strerror}", "set OVBENCH_CACHE to another"
        )
    named = "OVBENCH_CACHE" if "OVBENCH_CACHE" in os.environ else "default place"
    return Check("ok", f"cache folder can be written ({named}): {folder}")


def _protocols() -> Iterator[Check]:
    from ovbench.protocol.load import load_protocol, protocol_ids

    names = protocol_ids()
    if not names:
        yield Check("problem", "no protocols were found", "install ovbench again")
    for name in names:
        try:
            protocol = load_protocol(name)
        except OvbenchError as error:
            yield Check("problem", f"protocol {name}: {error.what}", error.hint or "")
        else:
            yield Check("ok", f"protocol {name} v{protocol.version} {protocol.hash[:12]}")


def _methods() -> Iterator[Check]:
    from ovbench.methods.registry import cards

    try:
        found = cards()
    except OvbenchError as error:
        yield Check("problem", str(error))
        return
    yield Check("ok", f"{len(found)} methods: {', '.join(found)}")
    for card in found.values():
        for entry in card.weights:
            label = f"weights {card.id}/{entry.variant}/{entry.name}"
            if entry.file.is_file():
                yield Check("ok", f"{label} {hash_file(entry.file)[:12]}")
            else:
                yield Check("problem", f"{label} are missing: {entry.file.name}", "install ovbench again")


def _world() -> Check:
    """The world must be the same bytes on every machine; one clip is made anew and compared."""
    from ovbench.datasets.world import dataset

    expected = dataset.FIRST_CLIP_SHA256
    found = dataset.clip_hash("attribute", "test", 0)
    if found != expected:
        hint = "scores on the world cannot be compared with others'; please report the platform"
        return Check("problem", f"world: clip 0 is {found[:12]}, expected {expected[:12]}", hint)
    return Check("ok", f"world: clip 0 {found[:12]}, as everywhere")
