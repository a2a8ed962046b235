"""One method, one protocol, and more and more names that are no class: does a larger vocabulary cost accuracy?"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from ovbench.core.errors import UserError
from ovbench.core.paths import room
from ovbench.datasets.world.classes import pretraining_classes
from ovbench.methods.select import select
from ovbench.protocol.load import load_protocol
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
        UserError: fewer names than the largest size asks for, or what `run` refuses.
    """
    protocol = load_protocol(request.protocol)
    chosen = select(
        request.method, request.variant, request.settings, request.weights, request.untrained, protocol
    )
    weights = Path(chosen.weights_name) if chosen.shipped and chosen.weights_name else request.weights
    pool = _names_of(names) if names else other_names(protocol)
    done = []
    for size in sizes:
        path = extended(request.protocol, protocol, pool, size, out / "protocols")
        told(f"{size} names added, {len(protocol.vocabulary) + size} in all")
        folder = out / request.method.replace(":", "-") / f"plus-{size}"
        one = replace(request, protocol=path, variant=chosen.variant or None, weights=weights, out=folder)
        one = replace(one, method=chosen.id)
        done.append(run(one))
    return done


def extended(given: str, protocol: Protocol, pool: Sequence[str], size: int, folder: Path) -> str:
    """Write the protocol with the first `size` names of `pool` as `extra_names`; what to load it by.

    With no further names it is the protocol itself.

    Raises:
        UserError: too few names, a protocol that has `extra_names` already, or a class among the names.
    """
    if size == 0:
        return given
    if size < 0 or size > len(pool):
        raise UserError(
            f"{size} further names were asked for, and there are {len(pool)}",
            hint="--names FILE gives others, one a line",
        )
    if protocol.extra_names:
        raise UserError(f"protocol '{protocol.id}' has extra_names already, so their number is not free")
    source = Path(given) if given.endswith(".toml") else room("protocols") / f"{given}.toml"
    text = source.read_text(encoding="utf-8")
    name = f"{protocol.id}-plus-{size}"
    text, changed = re.subn(r"(?m)^id\s*=.*$", f"id = {json.dumps(name)}", text, count=1)
    assert changed, "a protocol that was loaded has an id"
    listed = "".join(f"    {json.dumps(n, ensure_ascii=False)},\n" for n in pool[:size])
    path = folder / f"{name}.toml"
    write_text(path, f"extra_names = [\n{listed}]\n{text}")
    load_protocol(str(path))  # says what is wrong with a name, before anything is computed
    return str(path)


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
    return list(dict.fromkeys(line.strip() for line in lines if line.strip()))
