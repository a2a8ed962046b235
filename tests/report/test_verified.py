"""Nothing in a summary that its records do not give is explained, exported or put into a table."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from explain_cases import tiny_protocol, tiny_run
from run_cases import PROTOCOL, make_run

from ovbench.core.errors import IntegrityError
from ovbench.protocol.load import load_protocol
from ovbench.report.explain import explain
from ovbench.report.export import export_table
from ovbench.report.model import Run
from ovbench.report.table import render
from ovbench.report.verified import verify


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("tiny")
    protocol = tiny_protocol(folder)
    return tiny_run(folder / "run", protocol), str(protocol)


def leaves(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else None
    if pairs is None:
        yield path, tree
        return
    for key, value in pairs:
        yield from leaves(value, (*path, key))


def edited(summary: Any, path: tuple[Any, ...], value: Any) -> Any:
    copied = copy.deepcopy(summary)
    place = copied
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return copied


def test_every_value_is_compared(tiny):
    run, protocol = Run.open(tiny[0]), load_protocol(tiny[1])
    verify(run, protocol)
    for path, value in leaves(run.summary):
        if path[0] == "method":
            continue
        number = isinstance(value, int | float) and not isinstance(value, bool)
        for other in (value + 1e-6 if isinstance(value, float) else value + 1, None) if number else (50.0,):
            with pytest.raises(IntegrityError) as caught:
                verify(replace(run, summary=edited(run.summary, path, other)), protocol)
            assert ".".join(map(str, path)) in caught.value.what


def test_keys_and_lists_are_compared(tiny):
    run, protocol = Run.open(tiny[0]), load_protocol(tiny[1])
    for part in ("tags", "open_vocabulary", "intervals"):
        with pytest.raises(IntegrityError, match=part):
            verify(replace(run, summary={k: v for k, v in run.summary.items() if k != part}), protocol)
    with pytest.raises(IntegrityError, match="'x' for more"):
        verify(replace(run, summary={**run.summary, "more": "x"}), protocol)
    with pytest.raises(IntegrityError, match="the length of per_class"):
        verify(replace(run, summary={**run.summary, "per_class": run.summary["per_class"][:-1]}), protocol)


def test_scores_of_another_taxonomy_are_not_compared(tmp_path):
    run, protocol = Run.open(make_run(tmp_path / "run", 0.5)), load_protocol(PROTOCOL)
    verify(run, protocol)
    assert run.summary["open_vocabulary"]["taxonomy"]["hash"]
    score = ("open_vocabulary", "merged", "all", "miou")
    with pytest.raises(IntegrityError, match=r"open_vocabulary\.merged\.all\.miou"):
        verify(replace(run, summary=edited(run.summary, score, 1.0)), protocol)
    older = edited(run.summary, ("open_vocabulary", "taxonomy", "hash"), "0" * 64)
    verify(replace(run, summary=edited(older, score, 1.0)), protocol)
    without = edited(run.summary, ("open_vocabulary", "taxonomy"), None)
    with pytest.raises(IntegrityError, match="open_vocabulary"):  # scores of no taxonomy
        verify(replace(run, summary=without), protocol)
    for part in ("merged", "soft"):
        for group in run.summary["open_vocabulary"][part]:
            without = edited(without, ("open_vocabulary", part, group, "miou"), None)
    verify(replace(run, summary=edited(without, ("intervals", "open_vocabulary"), {})), protocol)


def test_a_taxonomy_that_is_not_here(tiny):
    run, protocol = Run.open(tiny[0]), load_protocol(tiny[1])
    assert run.summary["open_vocabulary"]["taxonomy"] is None
    foreign = edited(run.summary, ("open_vocabulary", "taxonomy"), {"id": "a", "version": 1, "hash": "h"})
    with pytest.raises(IntegrityError, match=r"open_vocabulary\.taxonomy"):  # this installation has none here
        verify(replace(run, summary=foreign), protocol)


@pytest.mark.parametrize(
    "path", [("scores", "seen_bias"), ("intervals", "scores", "all", "miou"), ("counts", "pixels")]
)
def test_the_verbs_refuse(tmp_path, path):
    protocol = str(tiny_protocol(tmp_path))
    folder = tiny_run(tmp_path / "run", Path(protocol))
    assert render([folder], protocol=protocol)
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps(edited(summary, path, 12.75)))
    for verb in (
        lambda: explain(folder, protocol=protocol),
        lambda: render([folder], protocol=protocol),
        lambda: export_table(folder, "videos", tmp_path / "x.csv", "csv", protocol=protocol),
    ):
        with pytest.raises(IntegrityError) as caught:
            verb()
        assert ".".join(path) in caught.value.what and str(folder) in str(caught.value)
    assert not (tmp_path / "x.csv").exists()
    if path[0] == "scores":  # "tiny" is not installed: without its file the summary is shown as it stands
        assert "12.75" in render([folder], format="json")


def test_a_constant_run_without_flow_leaves_those_columns_to_the_reference():
    from ovbench.report import conventions
    from ovbench.report.model import Cell, Column

    columns = [Column("change_rate", "change"), Column("tc-dis", "TC")]

    class One:
        method, path, records = {"id": "constant"}, Path("absent"), ()

    patch = pytest.MonkeyPatch()
    patch.setattr(conventions, "run_cells", lambda run: {"change_rate": Cell(0.0)})
    patch.setattr(conventions, "constant_values", lambda records: {"change_rate": 0.0, "tc-dis": 100.0})
    with patch.context():
        (row,) = conventions.reference_rows(columns, [One()])
    patch.undo()
    assert dict(row.cells) == {"tc-dis": Cell(100.0)}
