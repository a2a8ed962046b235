"""Layouts of weights files: mmcv's, detectron2's, Lightning's; what stands beside the weights, and the state's hash."""

from __future__ import annotations

import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ovbench.core.errors import UserError
from ovbench.nn.checkpoint import load_weights, save_weights
from ovbench.nn.weights_file import read_weights, state_hash


def _state() -> dict[str, Tensor]:
    values = torch.arange(6, dtype=torch.float32)
    return {"a.weight": values.view(2, 3).clone(), "a.bias": values[:2] / 7, "count": torch.tensor(3)}


def _mmcv(state: dict[str, Tensor]) -> dict[str, Any]:
    """The layout of mmcv 1.x `save_checkpoint`."""
    layer = nn.Linear(2, 2)
    optimiser = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(1, 2)).sum().backward()
    optimiser.step()
    meta = {
        "mmcv_version": "1.3.9",
        "time": "Wed Jan  1 00:00:00 2025",
        "CLASSES": ("wall", "ceiling"),
        "PALETTE": np.array([[1, 2, 3], [4, 5, 6]], np.uint8),
        "config": "model = dict(\n    type='EncoderDecoder_clips')\n",
        "best": np.float64(0.5),
        "iter": 100000,
        "hook_msgs": {},
    }
    ordered = OrderedDict(state)
    ordered._metadata = OrderedDict({"": {"version": 1}})  # type: ignore[attr-defined]
    return {"meta": meta, "state_dict": ordered, "optimizer": optimiser.state_dict()}


class _Evil:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, (str(self.marker),))


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_an_mmcv_checkpoint_is_read_with_its_meta(tmp_path: Path, zipped: bool, prefix: str) -> None:
    path = tmp_path / "iter_100000.pth"
    named = {prefix + k: v for k, v in _state().items()}
    torch.save(_mmcv(named), path, _use_new_zipfile_serialization=zipped)
    file = read_weights(path)
    assert file.writer == "mmcv checkpoint" and file.wrapper == "state_dict" and file.prefix == prefix
    assert file.format == ("torch zip" if zipped else "torch before 1.6")
    assert file.meta["mmcv_version"] == "1.3.9" and file.meta["CLASSES"] == ("wall", "ceiling")
    assert file.meta["PALETTE"].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert set(file.beside) == {"meta", "optimizer"}
    state, header = load_weights(path)
    assert header == {} and list(state) == list(_state())
    assert all(torch.equal(state[k], v) for k, v in _state().items())


def test_code_in_meta_is_refused_by_name_and_not_run(tmp_path: Path) -> None:
    path, marker = tmp_path / "w.pth", tmp_path / "code-was-run"
    torch.save({**_mmcv(_state()), "meta": {"config": _Evil(marker)}}, path)
    with pytest.raises(UserError, match=r"could run code \(it asks for \w+\.mkdir\)"):
        read_weights(path)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("value", "writer", "wrapper"),
    [
        ({"state_dict": _state(), "pytorch-lightning_version": "2.1", "epoch": 3}, "Lightning", "state_dict"),
        ({"model": _state(), "iteration": 9, "optimizer": {}}, "detectron2", "model"),
        ({"model_state_dict": _state(), "loss": 0.1}, "checkpoint", "model_state_dict"),
        (_state(), "", ""),
    ],
)
def test_other_layouts_are_told_apart(tmp_path: Path, value: Any, writer: str, wrapper: str) -> None:
    path = tmp_path / "w.ckpt"
    torch.save(value, path)
    file = read_weights(path)
    assert writer in file.writer and bool(writer) == bool(file.writer)
    assert file.wrapper == wrapper and state_hash(file.tensors) == state_hash(_state())


def test_a_pickle_of_arrays_is_a_detectron2_file(tmp_path: Path) -> None:
    path = tmp_path / "R-50.pkl"
    arrays = {k: v.numpy() for k, v in _state().items()}
    path.write_bytes(
        pickle.dumps({"model": arrays, "__author__": "torchvision", "matching_heuristics": True})
    )
    file = read_weights(path)
    assert file.format == "pickle of arrays" and file.writer == "detectron2 checkpoint"
    assert state_hash(file.tensors) == state_hash(_state())


def test_wrappers_of_torch_compile_and_data_parallel_training_are_taken_off(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save({f"_orig_mod.module.{k}": v for k, v in _state().items()}, path)
    file = read_weights(path)
    assert file.prefix == "_orig_mod.module." and set(file.tensors) == set(_state())


def test_a_zip_file_whatever_its_name(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    torch.save(_state(), path)
    assert state_hash(read_weights(path).tensors) == state_hash(_state())


@pytest.mark.parametrize("form", ["safetensors", "zip", "legacy", "pickle", "empty"])
def test_a_truncated_file_is_called_so(tmp_path: Path, form: str) -> None:
    path, big = tmp_path / "w.bin", {"a": torch.randn(1000)}
    if form == "safetensors":
        save_weights(path, big, {})
    elif form == "pickle":
        path.write_bytes(pickle.dumps({"a": big["a"].numpy()}))
    else:
        torch.save(big, path, _use_new_zipfile_serialization=form == "zip")
    data = path.read_bytes()
    path.write_bytes(b"" if form == "empty" else data[: len(data) * 2 // 3])
    with pytest.raises(UserError, match="damaged") as caught:
        load_weights(path)
    assert "w.bin" in str(caught.value)


def test_sparse_tensors_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save({"fine": torch.ones(2), "thin": torch.eye(3).to_sparse()}, path)
    with pytest.raises(UserError, match="thin|sparse"):
        load_weights(path)


def test_the_hash_knows_names_types_shapes_and_values() -> None:
    base = {"a": torch.zeros(2, 3), "b": torch.ones(2)}
    same = {"b": torch.ones(2), "a": torch.zeros(3, 2).T}
    assert state_hash(base) == state_hash(same)
    for changed in (
        {"a": torch.zeros(3, 2), "b": torch.ones(2)},
        {"a": torch.zeros(2, 3), "c": torch.ones(2)},
        {"a": torch.zeros(2, 3), "b": torch.ones(2, dtype=torch.float64)},
        {"a": torch.zeros(2, 3), "b": torch.tensor([1.0, 1.0000001])},
    ):
        assert state_hash(changed) != state_hash(base)


def test_the_hash_takes_every_type_and_scalars() -> None:
    state = {
        "bf16": torch.ones(3, dtype=torch.bfloat16),
        "flag": torch.tensor(True),
        "none": torch.empty(0),
    }
    assert len(state_hash(state)) == 64
