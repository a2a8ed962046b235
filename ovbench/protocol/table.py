"""Class tables: a CSV file with one class per line."""

from __future__ import annotations

import colorsys
import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ovbench.core.errors import UserError, unknown

from .schema import ClassInfo

REQUIRED = ("raw_ids", "name")
OPTIONAL = ("clean", "synonyms", "kind", "color")
KINDS = ("thing", "stuff", "")
MOST_CLASSES = 254  # truth indices 254 and 255 mean "undeclared" and "void"


def read_text(path: Path, what: str) -> str:
    """Text of a UTF-8 file; raises `UserError` when it is missing or no text."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{what} does not exist", where=path) from None
    except IsADirectoryError:
        raise UserError(f"{what} is a folder, not a file", where=path) from None
    except UnicodeDecodeError as error:
        raise UserError(f"{what} is not UTF-8 text: {error.reason}", where=path) from None


def read_table(path: Path) -> tuple[ClassInfo, ...]:
    """Read a class table; the order of its lines is the order of the class indices.

    Columns: `raw_ids` and `name`, and if wanted `clean` (default: the name), `synonyms`, `kind`
    ("thing", "stuff" or nothing) and `color` ("#rrggbb"). Several ids or synonyms are separated by
    ';'. Lines that start with '#' are remarks. Every class is returned as seen: which ones are
    held out is the protocol's affair.

    Raises:
        UserError: naming the file and the line.
    """
    lines = read_text(path, "class table").splitlines()
    numbered = [(n, t) for n, t in enumerate(lines, 1) if t.strip() and not t.startswith("#")]
    if len(numbered) < 2:
        raise UserError("class table has no classes", where=path, hint=f"columns: {_columns()}")
    records = list(csv.reader((text for _, text in numbered), strict=True))
    header = _header(records[0], f"{path}, line {numbered[0][0]}")
    rows: list[ClassInfo] = []
    for (number, _), cells in zip(numbered[1:], records[1:], strict=True):
        where = f"{path}, line {number}"
        if len(cells) != len(header):
            raise UserError(f"{len(cells)} cells in a table of {len(header)} columns", where=where)
        values = {key: cell.strip() for key, cell in zip(header, cells, strict=True)}
        rows.append(_row(values, len(rows), where))
    _check_rows(rows, path)
    return tuple(rows)


def _columns() -> str:
    return ", ".join(REQUIRED + OPTIONAL)


def _header(cells: Sequence[str], where: str) -> list[str]:
    header = [cell.strip() for cell in cells]
    for column in header:
        if column not in REQUIRED + OPTIONAL:
            raise unknown("column", column, REQUIRED + OPTIONAL, where=where)
    for column in REQUIRED:
        if column not in header:
            raise UserError(f"column '{column}' is missing", where=where, hint=f"columns: {_columns()}")
    if len(set(header)) != len(header):
        raise UserError("a column appears twice", where=where)
    return header


def _row(values: Mapping[str, str], index: int, where: str) -> ClassInfo:
    name = values["name"]
    if not name:
        raise UserError("the class name is empty", where=where)
    kind = values.get("kind", "")
    if kind not in KINDS:
        raise UserError(f"kind '{kind}' is unknown", where=where, hint="allowed: thing, stuff or nothing")
    return ClassInfo(
        raw_ids=tuple(_raw_id(text, where) for text in values["raw_ids"].split(";")),
        name=name,
        clean=values.get("clean") or name,
        synonyms=tuple(s.strip() for s in values.get("synonyms", "").split(";") if s.strip()),
        seen=True,
        kind=kind,
        color=_color(values.get("color", ""), index, where),
    )


def _raw_id(text: str, where: str) -> int:
    text = text.strip()
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise UserError(f"raw id '{text}' is not a number from 0 to 65535", where=where)
    return int(text)


def _color(text: str, index: int, where: str) -> tuple[int, int, int]:
    if not text:  # hues a golden angle apart, three brightnesses
        red, green, blue = colorsys.hsv_to_rgb(index * 0.618034 % 1.0, 0.75, (0.95, 0.7, 0.5)[index % 3])
        return round(255 * red), round(255 * green), round(255 * blue)
    digits = text.removeprefix("#")
    if len(digits) != 6 or any(c not in "0123456789abcdefABCDEF" for c in digits):
        raise UserError(f"colour '{text}' is not of the form #rrggbb", where=where)
    red8, green8, blue8 = bytes.fromhex(digits)
    return red8, green8, blue8


def _check_rows(rows: Sequence[ClassInfo], path: Path) -> None:
    if len(rows) > MOST_CLASSES:
        raise UserError(f"{len(rows)} classes, at most {MOST_CLASSES} are possible", where=path)
    checks: tuple[tuple[str, Iterable[object]], ...] = (
        ("raw id", (i for row in rows for i in row.raw_ids)),
        ("name", (row.name for row in rows)),
        ("clean name", (row.clean for row in rows)),
        ("clean name or synonym", (w for row in rows for w in (row.clean, *row.synonyms))),
    )
    for what, values in checks:
        met: set[object] = set()
        for value in values:
            if value in met:
                raise UserError(f"{what} '{value}' appears twice in the class table", where=path)
            met.add(value)
