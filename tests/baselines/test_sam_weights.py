"""Whose weights a file without a header holds: a mask method's, the mask maker's, SAM's own; a stock SAM in a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from make_trees import make_camvid
from mask_methods import ALL

from ovbench.cli.main import _run
from ovbench.methods.create import create
from ovbench.methods.fit import best_fits, segmenter_on_meta
from ovbench.methods.stock import recognise
from ovbench.nn.seeded import fill_by_name

State = dict[str, torch.Tensor]
BESIDE = {"iteration": 59999}


def _inspect(capsys: pytest.CaptureFixture[str], path: Path) -> dict[str, Any]:
    assert _run(["weights", "inspect", str(path), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize("method", [*ALL, "sam-clip"])
def test_small_files_are_told_by_their_names(
    method: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """As trainers write them, without a header that says whose they are."""
    made: Any = create(method, "world", untrained=True)
    state = made.proposer.model.state_dict() if method == "sam-clip" else made.network.state()
    torch.save(
        {"model": {f"module.{n}": v for n, v in state.items()}, **BESIDE}, tmp_path / "model_final.pth"
    )
    found = _inspect(capsys, tmp_path / "model_final.pth")
    best = found["fits"][0]
    assert (best["method"], best["variant"], best["loads"]) == (method, "world", True)
    assert not best["missing"] and not best["wrong_shape"] and found["stock"] is None


@pytest.mark.parametrize(
    ("method", "variant"),
    [("san", "b16"), ("san", "l14-336"), ("freeseg", "coco-r101"), ("sam-clip", "vit-b")],
)
def test_names_of_full_size_files_belong_to_one_method(method: str, variant: str) -> None:
    names = segmenter_on_meta(method, variant).official_names()  # type: ignore[attr-defined]
    state = {name: torch.empty(shape, device="meta") for name, shape in names.items()}
    found = best_fits(state, {})
    assert {fit.method for fit in found} == {method} and found[0].loads
    assert variant in [name.partition(":")[2] for name in (found[0].name, *found[0].also)]


@pytest.mark.parametrize("size", ["vit_b", "vit_l", "vit_h"])
def test_stock_sams_are_told_by_their_size(size: str) -> None:
    registry = pytest.importorskip("segment_anything").sam_model_registry
    with torch.device("meta"):
        state = registry[size]().state_dict()
    stock = recognise(state)
    assert stock is not None and f"--variant {size.replace('_', '-')} --weights FILE" in stock.use
    assert len(stock.title) > 3 and not stock.missing and not stock.left_over


@pytest.mark.slow
def test_a_stock_file_of_full_size_runs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Written as the published one is: a bare state dict, saved by torch. About 40 CPU seconds."""
    pytest.importorskip("segment_anything")
    file = tmp_path / "sam_vit_b_01ec64.pth"
    _write_sam(file)
    found = _inspect(capsys, file)
    assert found["stock"]["title"].startswith("SAM ViT-B")
    assert [(fit["method"], fit["loads"]) for fit in found["fits"]] == [("sam-clip", True)]
    make_camvid(tmp_path / "data", {"0016E5": [7959, 7961]}, size=(90, 120))
    words = ["run", "--method", "sam-clip", "--weights", str(file), "--protocol", "camvid-8-3-gzs"]
    words += ["--data-root", str(tmp_path / "data"), "--out", str(tmp_path / "run"), "--frames", "1"]
    # CLIP is no part of the file; the model "tiny" reads any word and needs no weights.
    words += ["--set", "clip=tiny", "--set", "points_per_side=2", "--set", "look=pooled", "--videos", "1"]
    assert _run(words) == 0, capsys.readouterr().err
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["method"]["weights_sha256"] == found["sha256"]
    other = [w if w != "sam-clip" else "sam-clip:vit-l" for w in words]
    other[other.index(str(tmp_path / "run"))] = str(tmp_path / "other")
    assert _run(other) == 2
    assert "weights of SAM vit_b, not vit_l" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def _write_sam(path: Path) -> None:
    from segment_anything import sam_model_registry

    sam = sam_model_registry["vit_b"]()
    fill_by_name(sam)
    torch.save(sam.state_dict(), path)
