"""Text as LaTeX prints it, in ASCII: escapes, accents, and signs that its own fonts have."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

_ACCENTS = dict(
    zip(
        "\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030b\u030c\u0323\u0327\u0331",
        ("`", "'", "^", "~", "=", "u", ".", '"', "r", "H", "v", "d", "c", "b"),
        strict=True,
    )
)
"""Combining marks that can be put over or under any letter in every font encoding -> the command."""
_MATH = {
    **{"±": "pm", "−": "-", "≥": "geq", "≤": "leq", "×": "times", "÷": "div", "·": "cdot", "≈": "approx"},
    **{
        "≠": "neq",
        "≡": "equiv",
        "∞": "infty",
        "∈": "in",
        "∑": "sum",
        "∏": "prod",
        "√": "surd",
        "∂": "partial",
    },
    **{"∆": "Delta", "∇": "nabla", "∝": "propto", "∩": "cap", "∪": "cup", "⊂": "subset", "∅": "emptyset"},
    **{"←": "leftarrow", "→": "rightarrow", "↑": "uparrow", "↓": "downarrow", "↔": "leftrightarrow"},
    **{"⇐": "Leftarrow", "⇒": "Rightarrow", "⇔": "Leftrightarrow", "↦": "mapsto"},
    **{
        "°": "^\\circ",
        "²": "^2",
        "³": "^3",
        "¹": "^1",
        "¬": "neg",
        "•": "bullet",
        "★": "star",
        "†": "dagger",
    },
    **{"‡": "ddagger", "ς": "varsigma", "ϑ": "vartheta", "ϵ": "epsilon", "µ": "mu"},
}
_TEXT = {
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "<": "\\textless{}",
    ">": "\\textgreater{}",
    "|": "\\textbar{}",
    '"': "''",
    "`": "\\textasciigrave{}",
    "[": "{[}",  # a bracket after a row's \\ would be read as its optional length
    **{"\u2010": "-", "\u2011": "-", "–": "\\textendash{}", "—": "\\textemdash{}", "―": "\\textemdash{}"},
    **{"‘": "`", "’": "'", "“": "``", "”": "''", "‚": ",", "„": ",,", "…": "\\dots{}"},
    **{"«": "$\\ll$", "»": "$\\gg$", "′": "$'$", "″": "$''$", "\u00a0": "~"},
    **{"ß": "\\ss{}", "æ": "\\ae{}", "Æ": "\\AE{}", "œ": "\\oe{}", "Œ": "\\OE{}", "ø": "\\o{}", "Ø": "\\O{}"},
    **{"ł": "\\l{}", "Ł": "\\L{}", "ı": "\\i{}", "¡": "!`", "¿": "?`", "§": "\\S{}", "¶": "\\P{}"},
    **{"©": "\\copyright{}", "£": "\\pounds{}"},
    **{c: f"${'' if c == '−' or name[0] == '^' else chr(92)}{name}$" for c, name in _MATH.items()},
}


def tex(text: str) -> str:
    """Text as LaTeX prints it.

    A hyphen that begins a number becomes a minus; several hyphens stay as many. What LaTeX's own fonts lack is
    printed as its number ("{[}U+4E2D]"); characters that show nothing are left out.

    >>> tex("a_b --x β é")
    "a\\\\_b -{}-x $\\\\beta$ \\\\'{e}"
    """
    escaped = "".join(out for _, out in _parts(text))
    return re.sub(r"-(?=-)", "-{}", re.sub(r"(?<![\w.-])-(?=\d)", "$-$", escaped))


def replaced(text: str) -> set[str]:
    """The characters of a text that are printed as their numbers."""
    return {c for source, out in _parts(text) for c in source if f"U+{ord(c):04X}]" in out}


def _parts(text: str) -> Iterator[tuple[str, str]]:
    """Characters, each with the marks over and under it, and how they are written."""
    text = re.sub(r"\s+", lambda m: " " if m.group().strip("\u00a0 ") else m.group(), text)
    shown = "".join(c for c in text if unicodedata.category(c) not in ("Cf", "Cc", "Cs", "Co", "Cn"))
    for cluster in _clusters(unicodedata.normalize("NFC", shown)):
        yield cluster, _written(cluster)


def _clusters(text: str) -> Iterator[str]:
    found = ""
    for c in text:
        if found and not unicodedata.combining(c):
            yield found
            found = ""
        found += c
    if found:
        yield found


def _written(cluster: str) -> str:
    if len(cluster) == 1 and (known := _sign(cluster)) is not None:
        return known
    base, *marks = list(unicodedata.normalize("NFD", cluster))
    known = _sign(base)
    if known is None or unicodedata.combining(base):
        return "".join(_numbered(c) for c in cluster)
    if base in _GREEK:  # whose accents no table needs
        return known
    over = [mark for mark in marks if mark in _ACCENTS and base.isalpha()]
    for mark in over:
        known = f"\\{_ACCENTS[mark]}{{{known}}}"
    return known + "".join(_numbered(mark) for mark in marks if mark not in over)


def _sign(c: str) -> str | None:
    """How one character without marks is written; None where LaTeX's own fonts have nothing for it."""
    found = _TEXT.get(c) or _GREEK.get(c)
    if found is None and not c.isascii():
        plain = unicodedata.normalize("NFKC", c)  # full-width letters, ligatures, thin spaces
        return "".join(_TEXT.get(x, x) for x in plain) if plain.isascii() else None
    return c if found is None else found


def _numbered(c: str) -> str:
    return f"{{[}}U+{ord(c):04X}]"


def _greek() -> Iterator[tuple[str, str]]:
    latin = dict(zip("ΑΒΕΖΗΙΚΜΝΟΡΤΧοΥ", "ABEZHIKMNOPTXoY", strict=True))  # the same shapes
    for c in map(chr, [*range(0x391, 0x3AA), *range(0x3B1, 0x3CA)]):
        word = unicodedata.name(c, "").rpartition(" ")[2].lower().replace("lamda", "lambda")
        if c in latin:
            yield c, latin[c]
        elif word and c not in _TEXT:
            yield c, f"$\\{word.capitalize() if c.isupper() else word}$"


_GREEK = dict(_greek())
