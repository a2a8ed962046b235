"""Weights files: what is read, what is refused, and what the messages say."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ovbench.core.errors import UserError
from ovbench.nn.checkpoint import apply, load_weights, modern_head_names, save_weights, weights_bytes


def _state() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {"a.weight": torch.randn(3, 2, generator=generator), "a.bias": torch.randn(3, generator=generator)}


class _Evil:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, (str(self.marker),))


def test_safetensors_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(path, _state(), {"method": "x", "seed": "0"})
    state, metadata = load_weights(path)
    assert metadata == {"method": "x", "seed": "0"}
    assert all(torch.equal(state[k], v) for k, v in _state().items())


def test_bytes_do_not_depend_on_the_order_of_metadata() -> None:
    entries = [(f"key{i}", str(i)) for i in range(20)]
    assert weights_bytes(_state(), dict(entries)) == weights_bytes(_state(), dict(reversed(entries)))


def test_the_library_reads_what_we_write(tmp_path: Path) -> None:
    from safetensors import safe_open

    path = tmp_path / "w.safetensors"
    save_weights(path, _state(), {"odd": "ä" * 5})
    with safe_open(path, framework="pt") as stream:
        assert stream.metadata() == {"odd": "ä" * 5}
        assert torch.equal(stream.get_tensor("a.weight"), _state()["a.weight"])


@pytest.mark.parametrize(
    "wrap", [lambda s: s, lambda s: {"state_dict": s, "epoch": 3}, lambda s: {"model": s}]
)
def test_torch_files(tmp_path: Path, wrap) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "w.pth"
    torch.save(wrap({f"module.{k}": v for k, v in _state().items()}), path)
    state, metadata = load_weights(path)
    assert metadata == {}
    assert all(torch.equal(state[k], v) for k, v in _state().items())


@pytest.mark.parametrize("legacy", [True, False])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path, legacy: bool) -> None:
    path, marker = tmp_path / "w.pth", tmp_path / "code-was-run"
    torch.save({"a": _Evil(marker)}, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(UserError, match="could run code") as caught:
        load_weights(path)
    assert "w.pth" in str(caught.value)
    assert not marker.exists()


def test_a_bare_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    path, marker = tmp_path / "w.pkl", tmp_path / "code-was-run"
    path.write_bytes(pickle.dumps(_Evil(marker)))
    with pytest.raises(UserError):
        load_weights(path)
    assert not marker.exists()


def test_training_state_and_numpy_values_beside_the_weights(tmp_path: Path) -> None:
    path = tmp_path / "model_final.pth"
    layer = nn.Linear(2, 3)
    optimiser = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(1, 2)).sum().backward()
    optimiser.step()
    arrays = {f"module.{k}": v.numpy() for k, v in _state().items()}
    extra = {
        "optimizer": optimiser.state_dict(),
        "iteration": 59999,
        "best": np.float64(0.4),
        "__author__": "x",
    }
    for legacy in (True, False):
        torch.save(
            {"model": arrays | {"module.half": np.float16(2)}, **extra},
            path,
            _use_new_zipfile_serialization=not legacy,
        )
        state, _ = load_weights(path)
        assert set(state) == {"a.weight", "a.bias", "half"} and state["half"] == 2
        assert all(torch.equal(state[k], v) for k, v in _state().items())


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_pickle_of_arrays(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "R-101.pkl"
    arrays = {k: v.numpy() for k, v in _state().items()} | {"big": np.arange(3, dtype=">f4")}
    path.write_bytes(pickle.dumps({"model": arrays, "matching_heuristics": True}, protocol))
    state, _ = load_weights(path)
    assert all(torch.equal(state[k], v) for k, v in _state().items())
    assert state["big"].tolist() == [0, 1, 2] and state["big"].dtype == torch.float32


def test_arrays_of_objects_are_named(tmp_path: Path) -> None:
    path = tmp_path / "w.pkl"
    path.write_bytes(pickle.dumps({"model": {"odd": np.array([None, "x"], dtype=object)}}))
    with pytest.raises(UserError, match="odd"):
        load_weights(path)


def test_the_refusal_says_what_the_pickle_asks_for(tmp_path: Path) -> None:
    for legacy in (None, True, False):
        path, evil = tmp_path / "w.pkl", {"model": {"a": _Evil(tmp_path / "marker")}}
        if legacy is None:
            path.write_bytes(pickle.dumps(evil))
        else:
            torch.save(evil, path, _use_new_zipfile_serialization=not legacy)
        with pytest.raises(UserError, match=r"could run code \(it asks for \w+\.mkdir\)"):
            load_weights(path)
    assert not (tmp_path / "marker").exists()


def test_old_head_names() -> None:
    old = [
        "sem_seg_head.layer_1.weight",
        "sem_seg_head.predictor.x",
        "sem_seg_head.pixel_decoder.y",
        "backbone.z",
    ]
    names = list(modern_head_names({name: torch.zeros(1) for name in old}))
    assert names == ["sem_seg_head.pixel_decoder.layer_1.weight", *old[1:]]


def test_a_torchscript_archive_is_refused_with_a_way_out(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)).save(str(path))
    with pytest.raises(UserError, match="TorchScript") as caught:
        load_weights(path)
    assert "safetensors" in (caught.value.hint or "")


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.98])
@pytest.mark.parametrize("kind", ["safetensors", "torch"])
def test_truncated_files(tmp_path: Path, kind: str, share: float) -> None:
    path = tmp_path / "w"
    if kind == "safetensors":
        save_weights(path, _state(), {})
    else:
        torch.save(_state(), path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(UserError, match="damaged or of an unknown format"):
        load_weights(path)


def test_missing_file_and_foreign_content(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no weights file"):
        load_weights(tmp_path / "nothing")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(UserError, match="no state dict"):
        load_weights(tmp_path / "list.pt")
    torch.save({"a": torch.zeros(1), "epoch": 3}, tmp_path / "mixed.pt")
    with pytest.raises(UserError, match="epoch"):
        load_weights(tmp_path / "mixed.pt")


def _module() -> nn.Module:
    return nn.ModuleDict({"a": nn.Linear(2, 3)})


def test_apply_copies_and_casts() -> None:
    module = _module()
    apply(module, {k: v.half() for k, v in _state().items()})
    assert module.state_dict()["a.weight"].dtype == torch.float32
    assert torch.equal(module.state_dict()["a.bias"], _state()["a.bias"].half().float())


def test_apply_lists_every_kind_of_misfit_and_changes_nothing() -> None:
    module = _module()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    state = {"a.weight": torch.zeros(3, 5), "b.weight": torch.zeros(1)}
    with pytest.raises(UserError) as caught:
        apply(module, state)
    text = str(caught.value)
    assert "1 missing (a.bias)" in text and "1 unexpected (b.weight)" in text
    assert "a.weight (3, 5) instead of (3, 2)" in text
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())


def test_apply_ignores_only_what_it_is_told() -> None:
    state = {**_state(), "clip.x": torch.zeros(1), "extra": torch.zeros(1)}
    apply(_module(), state, ignore=("clip.", "extra"))
    with pytest.raises(UserError, match=r"clip\.x"):
        apply(_module(), state, ignore=("clip", "extra"))


def test_long_lists_are_cut() -> None:
    with pytest.raises(UserError, match="and 14 more"):
        apply(_module(), {**_state(), **{f"n{i}": torch.zeros(1) for i in range(20)}})


@pytest.mark.parametrize("content", [b"", b"garbage", pickle.dumps({"a": print})])
def test_anything_named_safetensors_gets_one_message(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        load_weights(path)
    assert str(path) in str(caught.value)


def test_values_that_are_no_weights_are_refused_by_name() -> None:
    module = nn.Linear(2, 3)
    before = {k: v.clone() for k, v in module.state_dict().items()}
    weight, bias = before["weight"], before["bias"]
    with pytest.raises(UserError, match=r"wrong type \(bias int64 instead of float32\)"):
        apply(module, {"weight": weight, "bias": torch.zeros(3, dtype=torch.int64)})
    for value in (float("nan"), float("inf"), -float("inf")):
        for dtype in (torch.float32, torch.float16, torch.bfloat16, torch.float64):
            bad = bias.to(dtype).clone()
            bad[1] = value
            with pytest.raises(UserError, match=r"NaN or infinity in it \(bias\)"):
                apply(module, {"weight": weight + 1, "bias": bad})
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    apply(module, {"weight": weight.half(), "bias": bias.double()})


def test_masks_may_hold_infinity_and_counters_any_number() -> None:
    module = nn.BatchNorm1d(2)
    module.register_buffer("attn_mask", torch.zeros(2, 2))
    state = {**module.state_dict(), "attn_mask": torch.full((2, 2), -torch.inf)}
    apply(module, {**state, "num_batches_tracked": torch.tensor(7.0)})
    assert module.num_batches_tracked == 7 and module.attn_mask.isinf().all()


def test_half_a_surrogate_pair_is_escaped(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(path, _state(), {"odd\ud800": "x\ud800y\U0001f600"})
    assert load_weights(path)[1] == {"odd\\ud800": "x\\ud800y\U0001f600"}
    with pytest.raises(UserError, match="cannot be written as text"):
        save_weights(tmp_path / "no", {"a\udfff": torch.zeros(1)}, {})
    assert not (tmp_path / "no").exists()
