"""Compiles the optional kernels: every `ovbench/**/_*.c` becomes `_*.abi3.so` beside it.

hatchling calls `CustomBuildHook` for wheels and editable installations. In a checkout, after a change to a C
file:

    python hatch_build.py

Without a C compiler or Python's headers, or with OVBENCH_NATIVE=0, the package is built without kernels:
slower, with identical results. CC and CFLAGS are honoured as usual.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # `python hatch_build.py` needs no hatchling
    BuildHookInterface = object  # type: ignore[assignment, misc]

ROOT = Path(__file__).resolve().parent
SUFFIX = ".abi3.so"  # as in ovbench/core/native.py
OLDEST = (3, 11)  # the stable ABI that is compiled for; as requires-python
PURE = "ovbench is built without compiled kernels (slower, same results)"


class NotCompiled(Exception):
    """Says in one sentence why there are no kernels."""


class CustomBuildHook(BuildHookInterface):
    """Adds the compiled kernels to a wheel, or leaves it pure Python with one line that says why."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel":
            return
        try:
            built = compile_kernels(Path(self.root))
        except NotCompiled as reason:
            self.app.display_warning(f"{PURE}: {reason}")
            return
        if not built:
            return
        build_data["pure_python"] = False
        build_data["tag"] = f"cp{OLDEST[0]}{OLDEST[1]}-abi3-{platform_tag()}"
        if version != "editable":
            build_data["force_include"].update(
                {str(path): path.relative_to(self.root).as_posix() for path in built}
            )


def compile_kernels(root: Path) -> list[Path]:
    """Compile all kernels below `root`/ovbench in place; returns their files. All or nothing.

    Raises:
        NotCompiled: no compiler, no headers, or the compiler refuses.
    """
    if os.environ.get("OVBENCH_NATIVE") == "0":
        raise NotCompiled("OVBENCH_NATIVE=0")
    if sys.implementation.name != "cpython" or sysconfig.get_config_var("Py_GIL_DISABLED"):
        raise NotCompiled("this interpreter has no stable ABI")
    if sys.platform == "win32":
        raise NotCompiled("not tried on Windows")
    sources = sorted((root / "ovbench").rglob("_*.c"))
    made: list[tuple[Path, Path]] = []
    try:
        for source in sources:
            target = source.with_name(source.stem + SUFFIX)
            made.append((_compile(source), target))
        for temporary, target in made:
            os.replace(temporary, target)  # a process that has the old file open keeps it
    except OSError as error:
        raise NotCompiled(f"{error.filename}: {error.strerror}") from error
    finally:
        for temporary, _ in made:
            temporary.unlink(missing_ok=True)
    return [target for _, target in made]


def platform_tag() -> str:
    """The platform part of a wheel's name, such as linux_x86_64."""
    return sysconfig.get_platform().replace("-", "_").replace(".", "_")


def command(source: Path, target: Path) -> list[str]:
    """The compiler call that turns one C file into an extension module."""
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    shared = ["-bundle", "-undefined", "dynamic_lookup"] if sys.platform == "darwin" else ["-shared"]
    return [
        *compiler,
        *shared,
        *("-fPIC", "-O3", "-DNDEBUG", "-fvisibility=hidden", "-Wall", "-Wextra", "-Wno-psabi"),
        f"-DPy_LIMITED_API=0x{OLDEST[0]:02x}{OLDEST[1]:02x}0000",
        *shlex.split(os.environ.get("CFLAGS", "")),
        f"-I{sysconfig.get_path('include')}",
        *(str(source), "-o", str(target)),
    ]


def _compile(source: Path) -> Path:
    """Compile into a hidden file beside the source and return it."""
    handle, name = tempfile.mkstemp(prefix=f".{source.stem}-", suffix=".tmp", dir=source.parent)
    os.close(handle)
    temporary = Path(name)
    call = command(source, temporary)
    try:
        done = subprocess.run(call, capture_output=True, text=True, timeout=600, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        temporary.unlink(missing_ok=True)
        raise NotCompiled(f"the C compiler '{call[0]}' cannot be run") from error
    if done.returncode:
        temporary.unlink(missing_ok=True)
        first = next(
            (line for line in done.stderr.splitlines() if "error" in line), done.stderr.strip()[-200:]
        )
        raise NotCompiled(f"'{call[0]}' refuses {source.name}: {first}")
    if done.stderr:
        print(done.stderr, file=sys.stderr)
    temporary.chmod(0o755)
    return temporary


def main() -> int:
    """Compile in place and say what was made."""
    try:
        built = compile_kernels(ROOT)
    except NotCompiled as reason:
        print(f"no kernels: {reason}", file=sys.stderr)
        return 1
    for path in built:
        print(path.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
