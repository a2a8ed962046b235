"""A large JSON file one entry at a time: what an entry says, and where in the file it stands."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from ovbench.core.errors import UserError

MAX_ENTRY = 64 * 2**20
"""Bytes of the largest single entry (one mask, in uncompressed run lengths, is far below)."""
_CHUNK = 2**20
_SPACE = " \t\n\r"
_AFTER = tuple(_SPACE + ",:]}")


class Entry(NamedTuple):
    """A value of the top-level object under `key` (each element of a list apart); "" in a top-level list.

    `start`, `stop`: its bytes in the file.
    """

    key: str
    value: Any
    start: int
    stop: int


class Scanner:
    """Reads a JSON file whose top level is a list or an object; memory is bounded by the largest entry.

    After the last entry `sha256` is that of the whole file.

    Raises:
        UserError: from `entries`: unreadable, not JSON (with the byte), or a larger entry than `MAX_ENTRY`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._hash = hashlib.sha256()
        self._decoder = json.JSONDecoder()

    @property
    def sha256(self) -> str:
        """Of what was read so far, 64 hexadecimal digits."""
        return self._hash.hexdigest()

    def entries(self) -> Iterator[Entry]:
        """All entries in the order of the file."""
        try:
            with open(self.path, "rb") as stream:
                self._stream: IO[bytes] = stream
                self._text, self._base, self._at, self._ended = "", 0, 0, False
                yield from self._top()
        except OSError as error:
            raise UserError(f"cannot be read: {error.strerror or error}", where=self.path) from error

    def _top(self) -> Iterator[Entry]:
        self._more()
        if self._text.startswith("\xef\xbb\xbf"):
            self._at = 3
        opening = self._next()
        if opening == "[":
            yield from self._list("")
        elif opening == "{":
            yield from self._object()
        else:
            raise self._broken("a list or an object is expected")
        if self._peek():
            raise self._broken("something follows the end")

    def _object(self) -> Iterator[Entry]:
        keys: set[str] = set()
        while self._peek() != "}":
            key = self._value().value
            if not isinstance(key, str) or self._next() != ":":
                raise self._broken("a key and a colon are expected")
            if key in keys:  # readers differ in which of them counts
                raise self._broken(f"the key '{key[:60]}' is there twice")
            keys.add(key)
            if self._peek() == "[":
                self._at += 1
                yield from self._list(key)
            else:
                yield self._value()._replace(key=key)
            if self._comma("}"):
                return
        self._at += 1

    def _list(self, key: str) -> Iterator[Entry]:
        while self._peek() != "]":
            yield self._value()._replace(key=key)
            if self._comma("]"):
                return
        self._at += 1

    def _comma(self, closing: str) -> bool:
        """Step over what follows a value: True when it closes."""
        found = self._next()
        if found not in (",", closing):
            raise self._broken(f"',' or '{closing}' is expected")
        if found == "," and self._peek() == closing:
            raise self._broken("a value is expected")
        return found == closing

    def _value(self) -> Entry:
        self._peek()
        while True:
            try:
                value, stop = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if self._more():
                    continue
                raise self._broken(error.msg) from error
            except RecursionError as error:
                raise self._broken("nested too deeply") from error
            # "2" may be the beginning of "2.5"
            if self._text[stop : stop + 1] in _AFTER or not self._more():
                break
        raw = self._text[self._at : stop]
        if not raw.isascii():  # the file was taken byte by byte; now its text is wanted
            try:
                value = json.loads(raw.encode("latin-1").decode("utf-8"))
            except ValueError as error:
                raise self._broken("text that is not UTF-8") from error
        start, self._at = self._at, stop
        return Entry("", value, self._base + start, self._base + stop)

    def _next(self) -> str:
        found = self._peek()
        self._at += 1
        return found

    def _peek(self) -> str:
        """The next character that is no space, "" at the end of the file."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in _SPACE:
                    return self._text[self._at]
                self._at += 1
            if not self._more():
                return ""

    def _more(self) -> bool:
        """Drop what was used and read on; False at the end of the file."""
        if self._ended:
            return False
        rest = self._text[self._at :]
        if len(rest) > MAX_ENTRY:
            raise self._broken(f"an entry of more than {MAX_ENTRY:,} bytes, or a missing quote or bracket")
        data = self._stream.read(max(_CHUNK, len(rest)))
        self._hash.update(data)
        self._base, self._at = self._base + self._at, 0
        self._text = rest + data.decode("latin-1")  # one character per byte
        self._ended = not data
        return not self._ended

    def _broken(self, problem: str) -> UserError:
        return UserError(
            f"this is not JSON as expected, near byte {self._base + self._at:,}: {problem}",
            where=self.path,
            hint="write the file again; it may be cut off",
        )
