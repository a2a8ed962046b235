"""Prompt template sets: text files with one template per line."""

from __future__ import annotations

from pathlib import Path

from ovbench.core.errors import UserError, unknown
from ovbench.core.paths import room

from .table import read_text


def template_sets() -> dict[str, Path]:
    """The sets that come with ovbench: name -> file."""
    return {path.stem: path for path in sorted((room("protocols") / "templates").glob("*.txt"))}


def load_templates(name: str, folder: Path | None = None, *, where: object = None) -> tuple[str, ...]:
    """The templates of a set.

    Args:
        name: a set's name ("imagenet80"), or a text file (name ending in ".txt", relative to `folder`).
        folder: where the protocol lies that asks.
        where: the file and key that name the set, for messages.

    Raises:
        UserError: no such set or file, no templates, a repeated one, one without exactly one "{}".
    """
    if name.endswith(".txt"):
        return read_templates((folder or Path()) / name)
    sets = template_sets()
    if name not in sets:
        raise unknown("template set", name, sets, where=where)
    return read_templates(sets[name])


def read_templates(path: Path) -> tuple[str, ...]:
    """The lines of a template file, blank ones left out; see `load_templates` for the errors."""
    met: dict[str, int] = {}
    for number, line in enumerate(read_text(path, "template file").splitlines(), 1):
        template = line.strip()
        if not template:
            continue
        if template.count("{}") != 1:
            raise UserError(
                f"template '{template}' must contain '{{}}' exactly once", where=f"{path}, line {number}"
            )
        if template in met:
            raise UserError(
                f"template '{template}' already stands in line {met[template]}",
                where=f"{path}, line {number}",
            )
        met[template] = number
    if not met:
        raise UserError("template file holds no template", where=path)
    return tuple(met)
