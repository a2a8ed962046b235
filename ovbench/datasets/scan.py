"""What lies in a folder or a list file, and what is odd about it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ovbench.core.errors import UserError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm"})
MASK_SUFFIXES = frozenset({".png"})

_DIGITS = re.compile(r"([0-9]+)")


@dataclass(frozen=True)
class Finding:
    """One thing that is odd about a data set.

    `severity` is "error" (a run would stop or be wrong), "warning" (a run works, the numbers may
    surprise) or "info". `what`, `where` and `hint` read like those of a `UserError`.
    """

    severity: str
    what: str
    where: str
    hint: str = ""

    def as_error(self) -> UserError:
        return UserError(self.what, where=self.where, hint=self.hint or None)


@dataclass(frozen=True)
class Folder:
    """The pictures of one folder by stem, and whatever else lies in it.

    `count` is the number of entries of any sort, -1 when the folder does not exist;
    `hidden` and `stray` are names with and without a leading dot that are no pictures of ours.
    """

    path: Path
    by_stem: Mapping[str, tuple[Path, ...]]
    hidden: tuple[str, ...]
    stray: tuple[str, ...]
    count: int

    @property
    def exists(self) -> bool:
        return self.count >= 0

    def first(self, stem: str) -> Path | None:
        found = self.by_stem.get(stem)
        return found[0] if found else None

    def duplicates(self) -> list[Finding]:
        """One error for each stem that several files claim."""
        return [
            Finding(
                "error",
                f"frame '{stem}' exists {len(paths)} times: {', '.join(p.name for p in paths)}",
                str(self.path),
                "keep one of them",
            )
            for stem, paths in self.by_stem.items()
            if len(paths) > 1
        ]

    def clutter(self) -> list[Finding]:
        """Hidden and stray entries: never read, but the released VSPW script counts hidden ones."""
        findings = []
        if self.hidden:
            findings.append(
                Finding(
                    "warning",
                    f"{len(self.hidden)} hidden files: {', '.join(self.hidden[:4])}",
                    str(self.path),
                    "delete them: readers skip them, but the released VC script counts entries "
                    "before it skips hidden ones",
                )
            )
        if self.stray:
            findings.append(
                Finding(
                    "info",
                    f"{len(self.stray)} entries are not pictures of this kind: {', '.join(self.stray[:4])}",
                    str(self.path),
                    "nothing to do: they are skipped",
                )
            )
        return findings


def scan(path: Path, suffixes: frozenset[str]) -> Folder:
    """List a folder once: pictures by stem in natural order, hidden entries and strays aside."""
    try:
        entries = {entry.name: entry for entry in path.iterdir()}
    except (FileNotFoundError, NotADirectoryError):
        return Folder(path, {}, (), (), -1)
    by_stem: dict[str, tuple[Path, ...]] = {}
    hidden, stray = [], []
    for name in sorted(entries, key=natural):
        stem, suffix = os.path.splitext(name)
        if name.startswith("."):
            hidden.append(name)
        elif suffix.lower() in suffixes:
            by_stem[stem] = (*by_stem.get(stem, ()), entries[name])
        else:
            stray.append(name)
    return Folder(path, by_stem, tuple(hidden), tuple(stray), len(entries))


def natural(text: str) -> tuple[tuple[object, ...], str]:
    """Sort key: runs of digits compare as numbers, the rest as text ("f9" before "f10")."""
    parts = _DIGITS.split(text)
    return tuple(int(p) if i % 2 else p for i, p in enumerate(parts)), text


def read_list(path: Path) -> tuple[list[str], list[Finding]]:
    """Names in a list file, one a line; blank lines, CRLF, a BOM and a missing last newline are fine.

    Repeated names are kept once. Raises `UserError` for a file that is not UTF-8 text.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError("the list of videos is not a text file", where=path) from error
    names, findings = [], []
    for number, line in enumerate(text.splitlines(), 1):
        name = line.strip()
        if name in names:
            findings.append(
                Finding(
                    "warning",
                    f"'{name}' is listed again",
                    f"{path}:{number}",
                    "nothing to do here: it is used once; drop this line",
                )
            )
        elif name:
            names.append(name)
    if text and not text.endswith("\n"):
        findings.append(
            Finding(
                "info",
                "the last line has no newline; the released VSPW script would cut its last letter",
                str(path),
                "nothing to do here: this reader takes the whole line",
            )
        )
    return names, findings
