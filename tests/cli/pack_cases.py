"""Packs that somebody has changed so that every hash in them is right again."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ovbench.cli.main import _run

LIMITS = ("--protocol", "world-27-9", "--videos", "2", "--frames", "6", "--jobs", "1")


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = _run([str(a) for a in arguments])
    caught = capsys.readouterr()
    return code, caught.out, caught.err


def forged(
    pack: Path, change: Callable[[Path], object], about: Callable[[dict[str, Any]], object] | None = None
) -> Path:
    """The pack of a run with its files changed (`about`: also what pack.json says), every hash made right again."""
    folder = pack.parent / "forged"
    shutil.rmtree(folder, ignore_errors=True)
    with zipfile.ZipFile(pack) as archive:
        archive.extractall(folder)
    (run,) = (p for p in folder.iterdir() if p.is_dir())
    change(run)
    index = json.loads((folder / "pack.json").read_text())
    files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(run.rglob("*")) if p.is_file()}
    index["files"] = {n: {"bytes": len(d), "sha256": hashlib.sha256(d).hexdigest()} for n, d in files.items()}
    if about is not None:
        about(index["runs"][run.name])
    out = pack.with_name("forged.zip")
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("pack.json", json.dumps(index))
        for name, data in files.items():
            archive.writestr(name, data)
    return out


def in_json(name: str, change: Callable[[Any], object]) -> Callable[[Path], object]:
    def apply(run: Path) -> None:
        value = json.loads((run / name).read_text())
        change(value)
        (run / name).write_text(json.dumps(value))

    return apply
