"""Which names of a vocabulary a method's masks were trained on, by a declared rule."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ovbench.core.errors import UserError, unknown
from ovbench.protocol.vocabulary import Vocabulary

SEEN_RULES = ("flags", "flags-or-names", "names", "none")
"""How names count as seen:

- "flags": as the vocabulary says; one without flags has no seen names.
- "flags-or-names": as the vocabulary says, otherwise by "names".
- "names": a name (or a part of it between commas, or a synonym) is one of the training names.
- "none": every name is unseen.
"""


@dataclass(frozen=True)
class Seen:
    """Which names of a vocabulary count as seen, and what decided it.

    Attributes:
        flags: one per name.
        names: those that count as seen.
        rule: one of `SEEN_RULES`.
        trained: which training names decided ("coco-stuff-156", or "the weights' own"); "" where they did not.
        contrary: names that count as seen although the vocabulary calls them unseen.
    """

    flags: tuple[bool, ...]
    names: tuple[str, ...]
    rule: str
    trained: str = ""
    contrary: tuple[str, ...] = ()

    def facts(self) -> dict[str, Any]:
        """For a manifest; with a remark for tables where training names decided."""
        facts: dict[str, Any] = {"seen_rule": self.rule, "seen_names": list(self.names)}
        if not self.trained:
            return facts
        which = ", ".join(self.names) or "none of them"
        remark = f"seen_rule={self.rule}: names count as seen by training names ({self.trained}): {which}."
        if self.contrary:
            remark += f" The protocol calls of these unseen: {', '.join(self.contrary)}."
        return {**facts, "seen_by_training_names": self.trained, "remark": remark}


def decide(vocabulary: Vocabulary, rule: str, own: Sequence[str], listed: str) -> Seen:
    """Apply a rule.

    Args:
        own: training names that the weights bring along; empty where they say nothing.
        listed: otherwise this list's (see `training_names`), read only where the rule needs names.

    Raises:
        UserError: an unknown rule, or an unknown list where one is needed.
    """
    asks = rule == "names" or (rule == "flags-or-names" and vocabulary.seen is None)
    trained = tuple(own) or (training_names(listed) if asks else ())
    flags = seen_flags(vocabulary, rule, trained)
    names = tuple(n for n, f in zip(vocabulary.names, flags, strict=True) if f)
    if not asks:
        return Seen(flags, names, rule)
    said = vocabulary.seen or (True,) * len(flags)
    contrary = tuple(n for n, f, s in zip(vocabulary.names, flags, said, strict=True) if f and not s)
    return Seen(flags, names, rule, "the weights' own" if own else listed, contrary)


def training_names(which: str) -> tuple[str, ...]:
    """The names of a list, one a line.

    Args:
        which: a list that comes with ovbench ("coco-stuff-156": COCO-Stuff without 15 unseen classes; "voc-15"),
            or a text file ("names.txt").

    Raises:
        UserError: no list, an unknown one, or a file that is not text or holds no name.
    """
    if not which:
        raise UserError(
            "this rule compares with the names that the masks were trained on, and no list of those comes with "
            "ovbench for this variant (nor do the weights name them)",
            hint="--set seen_names=FILE.txt with one name a line; or --set seen_rule=flags",
        )
    folder = Path(__file__).parent / "names"
    path = Path(which) if which.endswith(".txt") else folder / f"{which}.txt"
    if not path.is_file():
        if which.endswith(".txt"):
            raise UserError("there is no list of training names here", where=path)
        raise unknown("list of training names", which, [p.stem for p in sorted(folder.glob("*.txt"))])
    try:
        names = tuple(n for line in path.read_text(encoding="utf-8").splitlines() if (n := line.strip()))
    except UnicodeDecodeError as error:
        raise UserError("this list of training names is not text in UTF-8", where=path) from error
    if not names:
        raise UserError("this list of training names is empty", where=path)
    return names


def seen_flags(vocabulary: Vocabulary, rule: str, trained: Sequence[str] = ()) -> tuple[bool, ...]:
    """One flag per name.

    Args:
        rule: one of `SEEN_RULES`.
        trained: the training names, for rules that look at names. Case, and "-other" and "-stuff" at the
            end (COCO's way of saying "any other"), do not matter; "-" and "_" count as spaces.
    """
    if rule not in SEEN_RULES:
        raise unknown("rule for seen names", rule, SEEN_RULES)
    if rule in ("flags", "flags-or-names") and vocabulary.seen is not None:
        return vocabulary.seen
    if rule in ("flags", "none"):
        return (False,) * len(vocabulary)
    known = {_plain(part) for name in trained for part in name.split(", ")}
    return tuple(
        any(_plain(part) in known for w in words for part in w.split(", ")) for words in _words(vocabulary)
    )


def _words(vocabulary: Vocabulary) -> list[set[str]]:
    return [{name, *words} for name, words in zip(vocabulary.names, vocabulary.synonyms, strict=True)]


def _plain(name: str) -> str:
    spaced = re.sub(r"[\s_-]+", " ", name.lower()).strip()
    return re.sub(r" (other|stuff)$", "", spaced)
