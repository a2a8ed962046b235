"""A vocabulary: the ordered class names (with synonyms and prompt templates) that a method is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ovbench.core.errors import UserError, unknown
from ovbench.core.hashing import hash_json

DEFAULT_TEMPLATES = ("a photo of a {}.",)


@dataclass(frozen=True, init=False)
class Vocabulary:
    """Ordered class names; all that a method learns about the classes.

    Args:
        names: class names, at least one, no two equal, none empty.
        seen: which names were trained on, either one flag per name or the names themselves;
            None where it is unknown.
        synonyms: for each name the strings to query, the first one preferred; default `(name,)`.
        templates: prompts with one `{}` each.

    Raises:
        UserError: empty or repeated names, a template without exactly one `{}`, lengths that differ.
    """

    names: tuple[str, ...]
    seen: tuple[bool, ...] | None
    synonyms: tuple[tuple[str, ...], ...]
    templates: tuple[str, ...]

    def __init__(
        self,
        names: Sequence[str],
        seen: Sequence[bool] | Sequence[str] | None = None,
        synonyms: Sequence[Sequence[str]] | None = None,
        templates: Sequence[str] = DEFAULT_TEMPLATES,
    ) -> None:
        names = tuple(names)
        _check_names(names)
        for template in templates:
            if template.count("{}") != 1:
                raise UserError(f"template {template!r} must contain '{{}}' exactly once")
        if not templates:
            raise UserError("a vocabulary needs at least one prompt template")
        words = tuple((n,) for n in names) if synonyms is None else tuple(map(tuple, synonyms))
        if len(words) != len(names) or not all(words):
            raise UserError("synonyms must hold one non-empty list per name")
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "seen", _flags(names, seen))
        object.__setattr__(self, "synonyms", words)
        object.__setattr__(self, "templates", tuple(templates))

    def __len__(self) -> int:
        return len(self.names)

    def as_dict(self) -> dict[str, Any]:
        """Everything that identifies this vocabulary, as plain JSON types."""
        return {
            "names": list(self.names),
            "seen": None if self.seen is None else list(self.seen),
            "synonyms": [list(s) for s in self.synonyms],
            "templates": list(self.templates),
        }

    @property
    def hash(self) -> str:
        """SHA-256 over names, order, flags, synonyms and templates."""
        return hash_json(self.as_dict())

    @property
    def templates_hash(self) -> str:
        """SHA-256 over the prompt templates alone."""
        return hash_json(list(self.templates))


def _check_names(names: tuple[str, ...]) -> None:
    if not names:
        raise UserError("a vocabulary needs at least one class name")
    for i, name in enumerate(names):
        if not isinstance(name, str) or not name.strip():
            raise UserError(f"class name {i} is empty", where=repr(name))
    repeated = sorted({n for n in names if names.count(n) > 1})
    if repeated:
        raise UserError(f"class names appear twice: {', '.join(repeated)}")


def _flags(names: tuple[str, ...], seen: Sequence[bool] | Sequence[str] | None) -> tuple[bool, ...] | None:
    if seen is None:
        return None
    if all(isinstance(s, str) for s in seen):
        for s in seen:
            if s not in names:
                raise unknown("class name", str(s), names, where="seen")
        return tuple(n in seen for n in names)
    if len(seen) != len(names):
        raise UserError(f"{len(seen)} seen flags for {len(names)} names")
    return tuple(bool(s) for s in seen)
