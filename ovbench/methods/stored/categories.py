"""What the category ids of a JSON file mean in a vocabulary."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ovbench.core.errors import UserError, unknown
from ovbench.core.types import other_of
from ovbench.methods.labels import label_dtype
from ovbench.protocol.load import load_protocol, protocol_ids
from ovbench.protocol.vocabulary import Vocabulary

FORMAT = "ovbench-rle"
"""`info.format` of the files that `ovbench export` writes: their ids are vocabulary indices."""


def _installed_vocabulary(name: object) -> str | None:
    """The vocabulary's hash of an installed protocol, None where there is no such protocol."""
    if not isinstance(name, str) or name not in protocol_ids():
        return None
    try:
        return load_protocol(name).vocabulary.hash
    except UserError:
        return None


class Categories:
    """Category ids: vocabulary indices, unless the file lists "categories" of its own, which go by name."""

    def __init__(self, path: Path, vocabulary: Vocabulary) -> None:
        self._path, self._vocabulary = path, vocabulary
        self._other = other_of(label_dtype(len(vocabulary)))
        self._names: dict[int, str] = {}
        self._taken: set[str] = set()
        self._ours = False

    def add(self, value: Any) -> None:
        """Take an entry of "categories"; raises `UserError` for one without id and name, or either twice."""
        if (
            not isinstance(value, Mapping)
            or type(value.get("id")) is not int
            or not isinstance(value.get("name"), str)
        ):
            raise UserError("an entry of 'categories' lacks 'id' (an integer) or 'name'", where=self._path)
        if value["id"] in self._names:
            raise UserError(f"two categories have the id {value['id']}", where=self._path)
        if value["name"] in self._taken:
            raise UserError(f"two categories have the name '{value['name']}'", where=self._path)
        self._names[value["id"]] = value["name"]
        self._taken.add(value["name"])

    def check_info(self, value: Any) -> None:
        """Take "info"; raises `UserError` when our own export says that it is of another vocabulary."""
        if not isinstance(value, Mapping) or value.get("format") != FORMAT:
            return
        if value.get("vocabulary") is None:
            return  # written by others, who claim nothing
        self._ours = True
        if value["vocabulary"] != self._vocabulary.hash:
            raise self._other_vocabulary(value)

    def _other_vocabulary(self, info: Mapping[str, Any]) -> UserError:
        made_for = info.get("protocol")
        name = made_for.get("id") if isinstance(made_for, Mapping) else None
        theirs = _installed_vocabulary(name)
        if theirs == info["vocabulary"]:
            return UserError(
                f"these label maps were made with another vocabulary, that of '{name}': their numbers mean other "
                "classes here",
                where=self._path,
                hint=f"score them with --protocol {name}",
            )
        said = f", of protocol '{name}'" if isinstance(name, str) else ""
        return UserError(
            f"these label maps say that they were made with another vocabulary: info.vocabulary is "
            f"'{str(info['vocabulary'])[:12]}'{said}, the hash of the one here is '{self._vocabulary.hash[:12]}'",
            where=self._path,
            hint="score them with the very protocol that they were made for; if you wrote the file yourself and "
            "its category ids are positions in this vocabulary, leave info.vocabulary out",
        )

    def label(self, category: Any, where: str) -> int:
        """The vocabulary index of a category id, or the value for "other".

        Raises:
            UserError: an id that means nothing here; names it and `where`.
        """
        if type(category) is int and (self._ours or not self._names):
            if 0 <= category < len(self._vocabulary) or category == self._other:
                return category
            raise UserError(
                f"category {category} is outside the vocabulary",
                where=where,
                hint=f"allowed: 0 to {len(self._vocabulary) - 1}, and {self._other} for 'other'; or list "
                '"categories" with the names of the vocabulary',
            )
        if type(category) is not int or category not in self._names:
            raise UserError(
                f"category {category!r} is not among the 'categories' of the file"
                if self._names
                else f"category {category!r} is no vocabulary index",
                where=where,
                hint="a mask needs an integer category_id",
            )
        name = self._names[category]
        if name not in self._vocabulary.names:
            raise unknown("category name", name, self._vocabulary.names, where=where)
        return self._vocabulary.names.index(name)

    def name(self, label: int) -> str:
        """A label as messages call it."""
        return "other" if label == self._other else self._vocabulary.names[label]
