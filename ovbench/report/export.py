"""Counts and scores of a run as CSV or Parquet, with what a reader needs to check them."""

from __future__ import annotations

import csv
import importlib
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ovbench.core.errors import UserError, missing_extra, unknown
from ovbench.metrics.sample import rule_for
from ovbench.protocol.schema import Protocol

from .export_place import new_file
from .export_rows import PER, Columns, Rows
from .model import Run, installed_protocol
from .names import method_name
from .verified import verify

TABLES = ("frames", "videos", "classes")
TABLE_FORMATS = ("csv", "parquet")


def export_table(
    folder: Path,
    what: str,
    out: Path,
    form: str,
    *,
    per: str | None = None,
    convention: str | None = None,
    protocol: str | None = None,
    force: bool = False,
) -> Path:
    """Write a table of a finished run; `out` is returned.

    Args:
        what: of `TABLES`.
        form: of `TABLE_FORMATS`.
        per: "run", "video" (default) or "frame": what a row of "classes" is about.
        convention: id of a convention; default: the protocol's.
        protocol: path of the protocol, where the run was made with one that is not installed.
        force: replace a file.

    Raises:
        UserError: an unknown name, no such protocol, a file in the way, a missing extra.
        IncompleteError: the run is not finished.
        IntegrityError: the summary is not what the records give, or the rows do not add up to it.
    """
    if form not in TABLE_FORMATS:
        raise UserError(
            f"a table of {what} is not written as {form}", hint=f"--format {' or '.join(TABLE_FORMATS)}"
        )
    if per is not None and what != "classes":
        raise UserError(f"--per goes with --what classes, not {what}")
    if per is not None and per not in PER:
        raise unknown("value of --per", per, PER)
    writer = _write_csv if form == "csv" else _parquet()
    run = Run.open(folder)
    rules = protocol_of(run, protocol)
    verify(run, rules)
    rows = Rows(rules, rule_for(rules, convention), run.records)
    blocks = {"frames": rows.frames, "videos": rows.videos}.get(what, lambda: rows.classes(per or "video"))
    with new_file(out, force) as temporary:
        writer(temporary, _with_identity(blocks(), run, rows.rule.id))
        assert run.summary is not None
        rows.check(run.summary)
    return out


def protocol_of(run: Run, path: str | None = None) -> Protocol:
    """The protocol a run was made with.

    Raises:
        UserError: it is not installed and `path` does not give the very same one.
    """
    found = installed_protocol(run.protocol, path)
    if found is None:
        raise UserError(
            f"the run was made with protocol '{run.protocol['id']}' v{run.protocol['version']} "
            f"{run.protocol['hash'][:12]}, which is {'not the one given' if path else 'not installed here'}",
            where=path or run.path,
            hint="give its file with --protocol, or run again with this version",
        )
    return found


def identity(run: Run, convention: str) -> dict[str, Any]:
    """What every row says about where it comes from."""
    return {
        "protocol": run.protocol["id"],
        "protocol_version": run.protocol["version"],
        "protocol_hash": run.protocol["hash"],
        "convention": convention,
        "method": method_name(run.method, run.manifest.get("options", {}).get("given")),
        "run_key": run.manifest.get("run_key", ""),
        "partial": run.partial or "",
    }


def _with_identity(blocks: Iterable[Columns], run: Run, convention: str) -> Iterator[Columns]:
    facts = identity(run, convention)
    for block in blocks:
        length = len(next(iter(block.values())))
        yield {**{key: [value] * length for key, value in facts.items()}, **block}


def _write_csv(path: Path, blocks: Iterable[Columns]) -> None:
    """One heading, a line per row; undefined values are empty, numbers as Python prints them (exact)."""
    with open(path, "x", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        for number, block in enumerate(blocks):
            if number == 0:
                writer.writerow(block)
            writer.writerows(zip(*(_plain(values) for values in block.values()), strict=True))


def _plain(values: Any) -> list[Any]:
    rows = values.tolist() if isinstance(values, np.ndarray) else values
    return ["" if isinstance(v, float) and math.isnan(v) else v for v in rows]


def _parquet() -> Any:
    """The writer of Parquet files; raises `UserError` without pyarrow, before anything else is done."""
    try:
        arrow = importlib.import_module("pyarrow")
        parquet = importlib.import_module("pyarrow.parquet")
    except ModuleNotFoundError as error:
        raise missing_extra("pyarrow", "export") from error

    def write(path: Path, blocks: Iterable[Columns]) -> None:
        def table(block: Columns) -> Any:
            return arrow.table(
                {name: arrow.array(values, from_pandas=True) for name, values in block.items()}
            )

        tables: Mapping[int, Any] = dict(enumerate(map(table, blocks)))
        parquet.write_table(arrow.concat_tables(tables.values()), path, compression="zstd")

    return write
