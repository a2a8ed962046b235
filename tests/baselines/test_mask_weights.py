"""Weights files as detectron2's trainers and converters write them, for every method whose network draws masks."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mask_methods import ALL, METHODS, QUERIES, small

import ovbench.nn.clip as clip_module
from ovbench.core.errors import UserError
from ovbench.nn.checkpoint import save_weights
from ovbench.nn.seeded import named_values
from ovbench.protocol.vocabulary import Vocabulary

State = dict[str, torch.Tensor]
NAMES = Vocabulary(["road", "tall tree"], seen=[True, False])
EXTRAS = {
    "criterion.empty_weight": torch.ones(3),
    "pixel_mean": torch.zeros(3, 1, 1),
    "clip_adapter.pixel_std": torch.ones(1, 3, 1, 1),
}


@pytest.fixture(scope="module", params=ALL)
def method(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def state(method: str) -> State:
    """Official names; no value as an untrained network has it."""
    network = small(method).network
    return {
        n: named_values(n, tuple(v.shape), "another").float() if v.is_floating_point() else v.clone()
        for n, v in network.state().items()
        if n not in network.fixed_names
    }


def without_clip(method: str, state: State) -> State:
    of_clip = small(method).network.of_clip
    return {name: value for name, value in state.items() if not of_clip(name)}


def trainer(state: State, path: Path) -> None:
    """detectron2's DetectionCheckpointer: optimiser, scheduler and a counter stand beside the weights."""
    layer = torch.nn.Linear(2, 2)
    optimiser = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(2)).sum().backward()
    optimiser.step()
    beside = {"optimizer": optimiser.state_dict(), "scheduler": {"last_epoch": 59999}, "iteration": 59999}
    torch.save({"model": {**state, **EXTRAS}, **beside}, path)


def bare(state: State, path: Path) -> None:
    torch.save(state, path)


def wrapped(state: State, path: Path) -> None:
    torch.save({"model": {f"module.{n}": v for n, v in (state | EXTRAS).items()}}, path)


def arrays(state: State, path: Path) -> None:
    """A converted file: a plain pickle of NumPy arrays."""
    content = {
        "model": {n: v.numpy() for n, v in state.items()},
        "__author__": "x",
        "matching_heuristics": True,
    }
    path.write_bytes(pickle.dumps(content, 2))


def old_names(state: State, path: Path) -> None:
    torch.save(
        {"model": {n.replace("sem_seg_head.pixel_decoder.", "sem_seg_head."): v for n, v in state.items()}},
        path,
    )


def safetensors(state: State, path: Path) -> None:
    save_weights(path, state, {})


@pytest.mark.parametrize("write", [trainer, bare, wrapped, arrays, old_names, safetensors])
def test_every_form_is_read(
    method: str, state: State, tmp_path: Path, write: Callable[[State, Path], None]
) -> None:
    write(state, tmp_path / "model_final.pth")
    loaded = small(method, tmp_path / "model_final.pth")
    assert not loaded.untrained and loaded.network.clip_given
    found = loaded.network.state()
    assert all(torch.equal(found[name], value) for name, value in state.items())
    assert len(loaded.network.clip.weights_id) == 64
    loaded.prepare(NAMES)
    assert loaded.scores(np.zeros((40, 60, 3), np.uint8)).shape == (2, 40, 60)


@pytest.mark.parametrize("write", [trainer, arrays])
def test_clip_may_have_a_file_of_its_own(
    method: str, state: State, tmp_path: Path, write: Callable[[State, Path], None]
) -> None:
    write(without_clip(method, state), tmp_path / "w")
    with pytest.raises(UserError, match="holds no CLIP") as caught:
        small(method, tmp_path / "w")
    assert "clip_weights" in str(caught.value.hint) and "OpenAI" in str(caught.value.hint)
    tower = {
        n: v + 0.25
        for n, v in clip_module.load_clip("tiny").model.state_dict().items()
        if v.is_floating_point()
    }
    rest = clip_module.load_clip("tiny").model.state_dict()
    save_weights(tmp_path / "clip", {**rest, **tower}, {})
    write(state, tmp_path / "with")
    for file in ("w", "with"):  # what is given by name wins over what lies inside
        loaded = small(method, tmp_path / file, clip_weights=str(tmp_path / "clip"))
        assert torch.equal(loaded.network.clip.model.text_projection, tower["text_projection"])
        assert torch.equal(loaded.network.state()[QUERIES[method]], state[QUERIES[method]])


def misfits(method: str, state: State) -> list[tuple[State, str]]:
    """What must be refused, and the name that the refusal must give."""
    some = next(n for n in state if n.endswith("text_projection"))
    changed = QUERIES[method]
    gone = {n: v for n, v in state.items() if n != changed}
    half = {n: v for n, v in state.items() if n != some}
    return [
        (gone, f"1 missing ({changed})"),
        (half, f"1 missing ({some})"),
        ({**state, "backbone.extra": torch.zeros(1)}, "1 unexpected (backbone.extra)"),
        ({**state, changed: torch.zeros(3, 5)}, f"1 wrong shape ({changed} (3, 5) instead of"),
    ]


def test_the_rest_is_refused_by_name(method: str, state: State, tmp_path: Path) -> None:
    untouched = small(method)
    before = {n: v.clone() for n, v in untouched.network.state().items()}
    for wrong, says in misfits(method, state):
        trainer(wrong, tmp_path / "w")
        with pytest.raises(UserError) as caught:
            small(method, tmp_path / "w")
        assert says in str(caught.value)
        with pytest.raises(UserError):
            untouched.load_official(wrong)
    assert all(torch.equal(v, before[n]) for n, v in untouched.network.state().items())


def test_a_state_without_clip_leaves_the_method_untrained(method: str, state: State) -> None:
    loaded = small(method)
    loaded.load_official(without_clip(method, state))
    assert loaded.untrained and torch.equal(loaded.network.state()[QUERIES[method]], state[QUERIES[method]])
    loaded.load_official(state)
    assert not loaded.untrained
    loaded.load_official(without_clip(method, state))  # it has one by now
    assert not loaded.untrained


def test_headers_of_own_weights(method: str, state: State, tmp_path: Path) -> None:
    own = small(method).network.config
    save_weights(tmp_path / "w", state, {"method": "other"})
    with pytest.raises(UserError, match=f"weights of 'other', not of {method}"):
        small(method, tmp_path / "w")
    header = {"method": method, "variant": "world", "config": own.to_json(), "classes": '["road"]'}
    save_weights(tmp_path / "w", state, header)
    assert small(method, tmp_path / "w", short_side=64).network.trained_on == ("road",)
    with pytest.raises(UserError, match="trained with heads 4 instead of 8"):
        small(method, tmp_path / "w", heads=8)


def test_text_of_different_untrained_towers_is_not_shared(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cache on disk outlives a release, and with it the rule by which towers are filled."""

    def world(rule: str) -> Any:
        fill = clip_module.fill_by_name
        with monkeypatch.context() as patch:
            patch.setattr(clip_module, "fill_by_name", lambda module: fill(module, rule))
            found = clip_module.load_clip("world", untrained=True)
        return found

    one, other, again = world(""), world("#2"), world("")
    assert one.weights_id.startswith("name-seeded ") and one.weights_id == again.weights_id
    assert one.weights_id != other.weights_id
    ids = {small(m).network.clip.weights_id for m in METHODS}
    assert len(ids) == 2  # DeOP's tower has positions of its own


def test_text_follows_the_weights(method: str, state: State) -> None:
    segmenter = small(method)
    segmenter.prepare(NAMES)
    before = segmenter.text.clone()
    segmenter.load_official(state)
    assert not torch.allclose(segmenter.text, before, atol=1e-3)
    fresh = small(method)
    fresh.load_official(state)
    fresh.prepare(NAMES)
    assert torch.equal(segmenter.text, fresh.text)
