"""One method, one protocol, and more and more names that are no class: does a larger vocabulary cost accuracy?"""

from __future__ import annotations

import hashlib
import json
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ovbench.core.errors import UserError
from ovbench.core.paths import room
from ovbench.datasets.world.classes import pretraining_classes
from ovbench.methods.select import select
from ovbench.protocol.load import load_protocol, protocol_path
from ovbench.protocol.schema import Protocol
from ovbench.protocol.table import read_table
from ovbench.store.atomic import write_text

from .evaluate import run
from .plan import Request


def sweep(
    request: Request,
    sizes: Sequence[int],
    out: Path,
    names: Path | None = None,
    told: Callable[[str], None] = lambda line: None,
) -> list[Path]:
    """Run a method with each number of further names, in folders `out/METHOD/plus-N`; finished ones are taken over.

    Weights and variant are those that the method has for the protocol itself.

    Args:
        request: as for one run; its `protocol` is the one that is extended, its `out` is not looked at.
        sizes: how many names are added, each at least 0.
        names: text file of names, one a line; default: `other_names`.
        told: is given a line before each run.

    Returns:
        The summaries, in the order of `sizes`.

    Raises:
        UserError: fewer names than the largest size asks for, names that cannot be used, other names than the runs
            in `out` were made with (all of it said before anything is computed), or what `run` refuses.
    """
    protocol = load_protocol(request.protocol)
    chosen = select(
        request.method, request.variant, request.settings, request.weights, request.untrained, protocol
    )
    weights = Path(chosen.weights_name) if chosen.shipped and chosen.weights_name else request.weights
    pool = _names_of(names) if names else other_names(protocol)
    paths = extended(request.protocol, protocol, pool, sizes, out / "protocols")
    done = []
    for size, path in zip(sizes, paths, strict=True):
        told(f"{size} names added, {len(protocol.vocabulary) + size} in all")
        folder = out / request.method.replace(":", "-") / f"plus-{size}"
        one = replace(request, protocol=path, variant=chosen.variant or None, weights=weights, out=folder)
        one = replace(one, method=chosen.id)
        done.append(run(one))
    return done


def extended(
    given: str, protocol: Protocol, pool: Sequence[str], sizes: Sequence[int], folder: Path
) -> list[str]:
    """Write the protocol with the first N names of `pool` as `extra_names`, for each N; what to load them by.

    With no further names it is the protocol itself, of which `folder` gets a copy if it is a file of a user's own.
    Files that it names (class table, list of videos, templates) are copied beside it. All of it is made in a folder
    of its own first, and nothing that lies in `folder` is replaced by anything else.

    Raises:
        UserError: too few names, a protocol that has `extra_names` already, a class among the names, or a
            protocol of this name with other names in `folder`.
    """
    for size in sizes:
        if size < 0 or size > len(pool):
            raise UserError(
                f"{size} further names were asked for, and there are {len(pool)}",
                hint="--names FILE gives others, one a line",
            )
    if protocol.extra_names and any(sizes):
        raise UserError(f"protocol '{protocol.id}' has extra_names already, so their number is not free")
    source = protocol_path(given)
    texts = {
        size: _toml(source, protocol.id, pool[:size])
        for size in sizes
        if size or source.parent != room("protocols")
    }
    beside = _beside(source)
    with tempfile.TemporaryDirectory() as place:
        for name, text in beside.items():
            write_text(Path(place) / name, text)
        for size, text in texts.items():
            _place(text, _id(protocol, size), Path(place), folder)
    for name, text in beside.items():
        if not (folder / name).is_file():
            write_text(folder / name, text)
        elif (folder / name).read_text(encoding="utf-8") != text:
            raise UserError(
                f"'{name}' was another file when a sweep was made here",
                where=folder / name,
                hint="give --out another folder",
            )
    for size, text in texts.items():
        path = folder / f"{_id(protocol, size)}.toml"
        if not path.is_file():
            write_text(path, text)
    return [str(folder / f"{_id(protocol, size)}.toml") if size else given for size in sizes]


def _place(text: str, name: str, place: Path, folder: Path) -> None:
    """Write a protocol into `place`, load it (which says what is wrong), and compare it with that in `folder`."""
    write_text(place / f"{name}.toml", text)
    try:
        new = load_protocol(str(place / f"{name}.toml"))
    except UserError as error:  # its file is gone when somebody reads this
        raise UserError(error.what, where=f"names added to '{name}'", hint=error.hint) from None
    old = folder / f"{name}.toml"
    if old.is_file() and load_protocol(str(old)).hash != new.hash:
        raise UserError(
            "a sweep with other names, or of another version of the protocol, was made here",
            where=old,
            hint="give --names as it was then, or --out another folder",
        )


def _id(protocol: Protocol, size: int) -> str:
    return f"{protocol.id}-plus-{size}" if size else protocol.id


def _toml(source: Path, identifier: str, names: Sequence[str]) -> str:
    """The protocol file with another id and further names."""
    values = tomllib.loads(source.read_text(encoding="utf-8"))
    if names:
        values |= {"id": f"{identifier}-plus-{len(names)}", "extra_names": list(names)}
    plain = [f"{json.dumps(k)} = {_value(v)}" for k, v in values.items() if not isinstance(v, dict)]
    tables = [
        "\n".join([f"\n[{json.dumps(k)}]", *(f"{json.dumps(a)} = {_value(b)}" for a, b in v.items())])
        for k, v in values.items()
        if isinstance(v, dict)
    ]
    return "\n".join([f"# Written by `ovbench sweep` from {source.name}.", *plain, *tables]) + "\n"


def _value(value: Any) -> str:
    """A value as TOML has it: as JSON, but for what lies deeper in tables."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {_value(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[\n" + "".join(f"    {_value(v)},\n" for v in value) + "]" if value else "[]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _beside(source: Path) -> dict[str, str]:
    """Name -> text of the files that a protocol names and that lie beside it (those of ovbench are found anyway)."""
    if source.parent == room("protocols"):
        return {}
    values = tomllib.loads(source.read_text(encoding="utf-8"))
    named = [values.get("class_table"), values.get("dataset", {}).get("videos"), values.get("templates")]
    files = [name for name in named if isinstance(name, str) and (source.parent / name).is_file()]
    found = {}
    for name in files:
        if Path(name).is_absolute():
            continue  # found wherever the protocol lies
        if ".." in Path(name).parts:
            raise UserError(
                f"'{name}' does not lie below the protocol's folder, so it cannot be copied with it",
                where=source,
                hint="move it beside the protocol, or name it by its whole path",
            )
        found[name] = (source.parent / name).read_text(encoding="utf-8")
    return found


def other_names(protocol: Protocol) -> list[str]:
    """Names that are no class of the protocol: for the world its other compositions, else other class tables'.

    In a fixed order that follows no alphabet, so that a longer list begins with every shorter one.
    """
    if protocol.dataset.name == "world":
        names: Iterable[str] = [c.name for c in pretraining_classes()]
    else:
        tables = sorted((room("protocols") / "classes").glob("*.csv"))
        names = [
            row.clean for path in tables if not path.stem.startswith("world") for row in read_table(path)
        ]
    taken = {w.casefold() for row in protocol.classes for w in (row.name, row.clean, *row.synonyms)}
    free = {name.casefold(): name for name in names if name.casefold() not in taken}
    return sorted(free.values(), key=lambda name: hashlib.sha256(name.encode()).digest())


def _names_of(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the names cannot be read: {error}", where=path) from None
    for number, line in enumerate(lines, 1):
        if not line.strip().isprintable():
            raise UserError(
                f"{line.strip()!r} holds a sign that cannot be printed", where=f"{path}, line {number}"
            )
    return list(dict.fromkeys(line.strip() for line in lines if line.strip()))
