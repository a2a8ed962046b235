"""What a manifest says about machine and code: versions, commit, hardware; no names of users or hosts."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import ovbench
from ovbench.core.errors import UserError, missing_extra
from ovbench.core.paths import room
from ovbench.core.plugins import installed_version

from .progress import note

_PACKAGES = (
    "numpy",
    "pillow",
    "torch",
    "torchvision",
    "open_clip_torch",
    "timm",
    "safetensors",
    "opencv-python-headless",
    "transformers",
    "segment-anything",
    "scipy",
)
_ROOMS = ("core", "protocol", "datasets", "methods", "metrics", "nn")
_DEVICE_FILES = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")


def package_version(name: str) -> str | None:
    """Installed version of a distribution, None when it is absent; imports nothing."""
    return installed_version(name)


def versions() -> dict[str, str | None]:
    """Versions of ovbench, Python and the packages that can change a number."""
    found: dict[str, str | None] = {"ovbench": ovbench.__version__, "python": platform.python_version()}
    return found | {name: package_version(name) for name in _PACKAGES}


def usable_cores() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def hardware() -> dict[str, Any]:
    """Kind of processor, cores, memory in GiB and operating system."""
    return {
        "cpu": _cpu_name(),
        "cores": usable_cores(),
        "memory_gib": _memory_gib(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def gpu_name(device: str) -> str | None:
    """Name of the CUDA device in use."""
    if device != "cuda":
        return None
    import torch

    return str(torch.cuda.get_device_name())


def git_state() -> dict[str, Any] | None:
    """Commit and dirty flag of the checkout that is running; None for an installed package."""
    top = Path(ovbench.__file__).resolve().parent.parent
    if not (top / ".git").exists():
        return None
    commit = _git(top, "rev-parse", "HEAD")
    if not commit:
        return None
    changes = _git(top, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "dirty": bool(changes) or changes is None}


def code_sha256(folders: Iterable[Path] = ()) -> str:
    """SHA-256 over the source that decides label maps and counts, and over `folders` (the method's own)."""
    package = Path(ovbench.__file__).resolve().parent
    return tree_sha256([*(package / name for name in _ROOMS), *folders])


def tree_sha256(folders: Iterable[Path]) -> str:
    """SHA-256 over the Python source below some folders."""
    total = hashlib.sha256()
    for tree in folders:
        for path in sorted(tree.rglob("*.py")):
            total.update(f"{tree.name}/{path.relative_to(tree).as_posix()}\n".encode())
            total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def method_sources(folder: Path) -> list[Path]:
    """The folders whose code a method may use: its own and, for ours, the embedded two-tower model's."""
    base = room("baselines")
    if folder.parent == base:
        return [folder, *(p for p in (base / "world_clip",) if p.is_dir() and p != folder)]
    return [folder]


def resolve_device(device: str, needs: Iterable[str]) -> str:
    """ "cpu" or "cuda" for "auto", "cpu" or "cuda".

    Methods without models run on the CPU whatever is asked for; a line on stderr says so where that
    was "cuda". torch is imported only where a GPU may exist.

    Raises:
        UserError: "cuda" without a CUDA device or without torch.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise UserError(f"device '{device}' does not exist", hint="allowed: auto, cpu, cuda")
    if "models" not in needs:
        if device == "cuda":
            note("note: this method computes on no device; --device cuda changes nothing, it runs on the CPU")
        return "cpu"
    if device == "cpu":
        return "cpu"
    if device == "auto" and sys.platform == "linux" and not any(map(os.path.exists, _DEVICE_FILES)):
        return "cpu"
    try:
        import torch
    except ModuleNotFoundError as error:
        raise missing_extra("torch", "models") from error
    if torch.cuda.is_available():
        return "cuda"
    if device == "cuda":
        raise UserError("no CUDA device can be used here", hint="--device cpu; `ovbench doctor` says more")
    return "cpu"


def peak_memory_mib() -> float | None:
    """Largest resident set of this process so far, in MiB."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1024 * 1024 if sys.platform == "darwin" else 1024), 1)


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # another system
    return platform.processor() or platform.machine()


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None


def _git(folder: Path, *arguments: str) -> str | None:
    import subprocess

    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
