"""Words around numbers."""

from __future__ import annotations


def plural(number: int, word: str, words: str | None = None) -> str:
    """A number and what it counts.

    >>> plural(1, "video"), plural(2, "video"), plural(1200, "class", "classes")
    ('1 video', '2 videos', '1,200 classes')
    """
    return f"{number:,} {word if number == 1 else words or word + 's'}"
