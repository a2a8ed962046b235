"""Published numbers: complete, sourced, and held against what mathematics allows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ovbench.core.errors import IntegrityError, UserError
from ovbench.methods.registry import cards
from ovbench.protocol.load import load_protocol
from ovbench.report.published import FILES, Entry, Number, impossible, read_table, repeated, violations

KNOWN = {("table2", "OV2VSS, ResNet-101", "fwIoU >= pAcc^2")}
"""The published rows that no confusion matrix gives."""


def entry(**scores: float) -> Entry:
    return Entry("t", "row", {key: Number(value, 2) for key, value in scores.items()})


def test_every_row_obeys_the_bounds_but_for_the_known_one() -> None:
    found = impossible()
    listed = "\n".join(f"{v.table}, {v.row}: {v.text}" for v in found)
    assert {(v.table, v.row, v.bound) for v in found} == KNOWN, listed
    assert found[0].text == "fwIoU 41.12 is below 42.09, the square of pAcc 64.88 %"


@pytest.mark.parametrize(("table", "rows"), [("table1", 8), ("table2", 6), ("table3", 16), ("ov-dvis", 4)])
def test_tables_are_complete_and_sourced(table: str, rows: int) -> None:
    found = read_table(table)
    assert len(found) == rows
    wanted = {"miou", "fwiou", "macc", "pacc"} if table in ("table1", "table2") else {"miou"}
    for row in found:
        assert set(row.scores) == wanted and row.source, row.row
        if table != "table3":
            assert row.setting and row.backbone and row.protocol, row.row
            load_protocol(row.protocol)


def test_the_rows_name_methods_that_exist() -> None:
    for table in ("table1", "table2"):
        for row in read_table(table):
            for method in filter(None, (row.entry, row.world)):
                base, _, variant = method.partition(":")
                assert base in cards() and variant in cards()[base].variants, f"{row.row}: {method}"


def test_another_protocol_is_said_to_be_one() -> None:
    for row in read_table("ov-dvis"):
        assert row.protocol == "vspw-124" and row.remark.startswith("another protocol")


def test_what_is_odd_is_remarked() -> None:
    one = {row.row: row for row in read_table("table1")}
    assert repeated(list(one.values())) == {("pacc", 33.11): ("FreeSeg, ResNet-101", "SAM + CLIP, ViT-B2")}
    assert all("33.11" in one[row].remark for row in ("FreeSeg, ResNet-101", "SAM + CLIP, ViT-B2"))
    two = {row.row: row for row in read_table("table2")}
    assert "42.09" in two["OV2VSS, ResNet-101"].remark
    assert (
        "0.30 from it" in one["SAM + CLIP, ViT-B2"].remark
        and "0.30 from it" in one["FreeSeg, ResNet-101"].remark
    )
    for table, row in (
        ("1", one["OV2VSS, ResNet-101"]),
        ("1", one["OV2VSS, ViT-B2"]),
        ("2", two["OV2VSS, ViT-B2"]),
    ):
        for said in (
            ("45 names compete", "43 of the 44", "24,502", "24,392") if table == "1" else ("single-frame",)
        ):
            assert said in row.remark, (row.row, said)
        assert "79 of the 80" in row.remark and "as the paper says" in row.setting
    assert "4.86" in one["OV2VSS, ViT-B2"].remark and "single-frame" in two["OV2VSS, ResNet-101"].remark
    three = {row.row: row for row in read_table("table3")}
    assert "12.55" in three["4 frames, 4 labels"].remark


def test_no_confusion_matrix_breaks_a_bound() -> None:
    rng = np.random.default_rng(7)
    for classes in (2, 5, 19):
        for sparse in (0.0, 0.8):
            for _ in range(200):
                joint = rng.integers(0, 1000, (classes, classes)) * (rng.random((classes, classes)) >= sparse)
                joint += np.diag(rng.integers(1, 50, classes))
                truth, predicted, right = joint.sum(1), joint.sum(0), np.diag(joint)
                iou = right / (truth + predicted - right)
                scores = {
                    "miou": iou.mean(),
                    "fwiou": (truth * iou).sum() / joint.sum(),
                    "macc": (right / truth).mean(),
                    "pacc": right.sum() / joint.sum(),
                }
                assert not list(violations(entry(**{k: 100 * float(v) for k, v in scores.items()})))


@pytest.mark.parametrize(
    ("scores", "bound"),
    [
        ({"miou": 50.0, "macc": 49.9}, "mIoU <= mAcc"),
        ({"fwiou": 50.0, "pacc": 49.0}, "fwIoU <= pAcc"),
        ({"fwiou": 24.9, "pacc": 50.0}, "fwIoU >= pAcc^2"),
        ({"miou": 100.1}, "range"),
    ],
)
def test_each_bound_is_noticed(scores: dict[str, float], bound: str) -> None:
    assert [v.bound for v in violations(entry(**scores))] == [bound]


def test_rounding_is_no_violation() -> None:
    assert not list(violations(entry(fwiou=36.01, pacc=60.01)))  # whose square is 36.012
    one_decimal = Entry("t", "row", {"fwiou": Number(36.1, 1), "pacc": Number(60.1, 1)})
    assert not list(violations(one_decimal))


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    for text, message in (
        ("row,mIoU,remark\na,1,\n", "columns are missing: source"),
        ("row,mIoU,remark,source\na,1.o,,s\n", "'1.o' is no number"),
        ("row,mIoU,remark,source\na,1_0,,s\n", "'1_0' is no number"),
        ("row,mIoU,remark,source\na, 5,,s\n", "' 5' is no number"),
        ("row,mIoU,remark,source\na,nan,,s\n", "'nan' is no number"),
        ("row,mIoU,remark,source\na,1,,s\na,2,,s\n", "two rows are called 'a'"),
    ):
        path.write_text(text)
        with pytest.raises(IntegrityError, match=message):
            read_table("own", path)
    path.write_bytes(b"row,mIoU,remark,source\na,1,\xff,s\n")
    with pytest.raises(IntegrityError, match="cannot be read"):
        read_table("own", path)
    with pytest.raises(UserError, match="unknown published table 'table4'"):
        read_table("table4")
    assert set(FILES) == {"table1", "table2", "table3", "ov-dvis"}
