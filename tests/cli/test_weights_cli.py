"""`ovbench weights`, and what `ovbench run --weights` says about files that it cannot use."""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ovbench
from ovbench.cli.main import _run
from ovbench.core.errors import UserError
from ovbench.core.paths import room
from ovbench.methods.fit import best_fits, segmenter_on_meta
from ovbench.nn.checkpoint import load_weights, save_weights
from ovbench.nn.weights_file import read_weights, state_hash

SHIPPED = room("baselines") / "ov2vss" / "weights" / "world-seed0.safetensors"


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of one command."""
    code = _run([str(a) for a in arguments])
    caught = capsys.readouterr()
    return code, caught.out, caught.err


class _Evil:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, (str(self.marker),))


def _shipped() -> dict[str, Tensor]:
    return load_weights(SHIPPED)[0]


def _mmcv(path: Path, state: dict[str, Tensor]) -> Path:
    meta = {
        "mmcv_version": "1.3.9",
        "CLASSES": ("wall",),
        "PALETTE": np.ones((1, 3), np.uint8),
        "config": "x = 1\x1b[31m\n",
    }
    torch.save({"meta": meta, "state_dict": state, "optimizer": {"state": {0: torch.ones(9)}}}, path)
    return path


def test_our_own_file_is_known_by_its_header_and_its_names(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "weights", "inspect", SHIPPED)
    assert code == 0
    assert "fits ov2vss, variant world, profile paper" in out and "missing" not in out


def test_an_mmcv_file_is_recognised_converted_and_stays_the_same(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    source = _mmcv(tmp_path / "iter_9.pth", {f"module.{k}": v for k, v in _shipped().items()})
    code, out, _ = call(capsys, "weights", "inspect", source, "--method", "ov2vss:world", "--json")
    before = json.loads(out)
    assert code == 0 and before["written_by"] == "mmcv checkpoint" and before["prefix"] == "module."
    assert before["fits"][0]["loads"] and before["fits"][0]["profile"] == "paper"
    assert before["meta"]["mmcv_version"] == "1.3.9" and before["meta"]["PALETTE"] == "array (1, 3) uint8"
    target = tmp_path / "new" / "w.safetensors"
    code, out, err = call(capsys, "weights", "convert", source, target, "--method", "ov2vss:world")
    assert code == 0, err
    assert before["state_sha256"] in out and "left out   optimizer" in out
    state, header = load_weights(target)
    assert all(torch.equal(state[k], v) for k, v in _shipped().items()) and len(state) == len(_shipped())
    assert header["method"] == "ov2vss" and header["variant"] == "world" and header["profile"] == "paper"
    assert header["source_file"] == "iter_9.pth" and header["source_sha256"] == before["sha256"]
    assert json.loads(header["meta.CLASSES"]) == ["wall"] and json.loads(header["meta.PALETTE"]) == [
        [1, 1, 1]
    ]
    assert state_hash(read_weights(target).tensors) == before["state_sha256"]


def test_control_characters_of_strangers_do_not_reach_the_terminal(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    source = _mmcv(tmp_path / "w.pth", {"x\x1b[2J.y": torch.zeros(1), "z": torch.zeros(1)})
    code, out, _ = call(capsys, "weights", "inspect", source, "--method", "ov2vss:world", "--all")
    assert code == 1 and "\x1b" not in out and "\\x1b[31m" in out


def test_a_lightning_prefix_is_named_and_taken_off(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    source, target = tmp_path / "last.ckpt", tmp_path / "w.safetensors"
    state = {f"model.{k}": v for k, v in _shipped().items()}
    torch.save({"state_dict": state, "pytorch-lightning_version": "2.1", "epoch": 1}, source)
    code, out, _ = call(capsys, "weights", "inspect", source, "--method", "ov2vss:world")
    assert code == 0 and "PyTorch Lightning" in out and "'model.' must be taken off" in out
    assert call(capsys, "weights", "convert", source, target, "--method", "ov2vss:world")[0] == 0
    assert set(load_weights(target)[0]) == set(_shipped())


def test_what_is_missing_left_over_and_misshapen_is_listed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    state = _shipped()
    names = list(state)
    for name in names[:9]:
        del state[name]
    state[names[20]] = torch.zeros(1, 2, 3)
    state |= {"stranger": torch.zeros(2)}
    source = tmp_path / "w.pth"
    torch.save(state, source)
    code, out, _ = call(capsys, "weights", "inspect", source, "--method", "ov2vss:world", "--all")
    assert code == 1 and "does not fit, though near: ov2vss, variant world" in out
    assert all(f"\n    {name}\n" in out for name in [*names[:9], "stranger"])
    assert f"{names[20]} (1, 2, 3) instead of" in out
    code, out, _ = call(capsys, "weights", "inspect", source, "--method", "ov2vss:world")
    assert "and 3 more (--all lists them)" in out
    code, _, err = call(capsys, *("weights", "convert", source, tmp_path / "o", "--method", "ov2vss:world"))
    assert code == 2 and "no weights of ov2vss:world" in err and not (tmp_path / "o").exists()


def test_unknown_tensors_are_code_1_and_can_be_converted(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    source, target = tmp_path / "w.pth", tmp_path / "w.safetensors"
    torch.save({"encoder.a": torch.ones(2, dtype=torch.bfloat16), "b": torch.tensor(1)}, source)
    code, out, _ = call(capsys, "weights", "inspect", source)
    assert code == 1 and "fits no method here; names begin with encoder, b" in out
    assert call(capsys, "weights", "convert", source, target)[0] == 0
    code, _, err = call(capsys, "weights", "convert", source, target)
    assert code == 2 and "--force" in err
    assert call(capsys, "weights", "convert", source, target, "--force")[0] == 0
    assert load_weights(target)[0]["encoder.a"].dtype == torch.bfloat16
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def _bad_files(folder: Path) -> dict[str, tuple[Path, str]]:
    """Name -> the file, and what must be said about it."""
    folder.mkdir()
    files = {n: folder / f"{n}.bin" for n in ("evil", "cut", "cut-zip", "script", "text")}
    torch.save({"state_dict": _shipped(), "meta": {"config": _Evil(folder / "ran")}}, files["evil"])
    files["cut"].write_bytes(SHIPPED.read_bytes()[:-1000])
    torch.save(_shipped(), files["cut-zip"])
    files["cut-zip"].write_bytes(files["cut-zip"].read_bytes()[:100_000])
    torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)).save(str(files["script"]))
    files["text"].write_text("<html>quota exceeded</html>")
    says = {
        "evil": "it asks for posix.mkdir",
        "cut": "ends too early",
        "cut-zip": "ends too early",
        "script": "TorchScript",
        "text": "not a weights file",
    }
    return {n: (files[n], says[n]) for n in files}


def test_files_that_cannot_be_read_are_code_2(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for path, says in _bad_files(tmp_path / "bad").values():
        for command in (["inspect", path], ["convert", path, tmp_path / "out"]):
            code, out, err = call(capsys, "weights", *command)
            assert code == 2 and says in err and out == "" and str(path) in err
    assert not (tmp_path / "bad" / "ran").exists() and not (tmp_path / "out").exists()
    code, _, err = call(capsys, "weights", "inspect", tmp_path / "nothing")
    assert code == 2 and "no weights file here" in err


def test_run_refuses_what_it_cannot_use_with_one_message(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    cases = _bad_files(tmp_path / "bad")

    def write(name: str, state: dict[str, Any], says: str, **header: str) -> None:
        path = tmp_path / "bad" / f"{name}.safetensors"
        save_weights(path, state, header)
        cases[name] = (path, says)

    write("method", {"a": torch.zeros(1)}, "weights of 'zsseg', not of ov2vss", method="zsseg")
    own = {"method": "ov2vss"}
    write("profile", _shipped(), "profile 'release', not of 'paper'", profile="release", **own)
    write("variant", _shipped(), "variant 'image', not 'world'", variant="image", **own)
    write("names", {"decode_head.x": torch.zeros(1)}, "profile 'release' by their names")
    write("foreign", {"sem_seg_head.x": torch.zeros(1)}, "ovbench weights inspect")
    for name, (path, says) in cases.items():
        out = tmp_path / "runs" / name
        code, printed, err = call(
            *(capsys, "run", "--method", "ov2vss", "--protocol", "world-27-9", "--jobs", 1),
            *("--weights", path, "--out", out),
        )
        assert code == 2 and printed == "", name
        assert err.count("error:") == 1 and says in err and "Traceback" not in err, (name, err)
        assert not list(out.glob("records/*")), name
    assert not (tmp_path / "bad" / "ran").exists()


def test_odd_values_in_meta_are_shown_and_kept_as_text(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ovbench.methods.inspect.best_fits", lambda *_: [])  # takes a while, fits nothing
    source, target = tmp_path / "w.pth", tmp_path / "w.safetensors"
    meta = {
        "half": "a\ud800b",
        "loss": {"now": float("nan"), "best": -math.inf, "all": np.array([1.0, np.inf])},
        "raw": b"\xff\x00",
        "time": datetime.datetime(2024, 5, 6, 7, 8, tzinfo=datetime.UTC),
        "took": datetime.timedelta(seconds=90),
    }
    torch.save({"meta": meta, "state_dict": {"a": torch.ones(2)}}, source)
    code, out, err = call(capsys, "weights", "inspect", source)
    assert code == 1 and err == "" and "half = a\\ud800b" in out and "2024-05-06T07:08" in out
    code, out, err = call(capsys, "weights", "inspect", source, "--json")
    shown = json.loads(out, parse_constant=pytest.fail)["meta"]
    assert shown["loss"]["now"] == "nan" and shown["raw"] == r"b'\xff\x00'" and shown["took"] == "0:01:30"
    code, _, err = call(capsys, "weights", "convert", source, target)
    assert code == 0, err
    header = load_weights(target)[1]
    assert header["meta.half"] == "a\\ud800b" and header["meta.took"] == '"0:01:30"'
    assert json.loads(header["meta.loss"], parse_constant=pytest.fail) == {
        **{"now": "nan", "best": "-inf", "all": [1.0, "inf"]}
    }


def test_a_refusal_says_that_what_stands_beside_the_weights_may_be_at_fault(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    source = tmp_path / "w.pth"
    torch.save({"meta": {"args": argparse.Namespace(x=1)}, "state_dict": {"a": torch.ones(2)}}, source)
    code, _, err = call(capsys, "weights", "inspect", source)
    assert code == 2 and "asks for argparse.Namespace" in err and "`meta`" in err and "['state_dict']" in err


def test_tensors_that_are_not_finite_are_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    torch.save({"a": torch.tensor([1.0, math.nan]), "b": torch.zeros(1)}, tmp_path / "w.pth")
    _, out, _ = call(capsys, "weights", "inspect", tmp_path / "w.pth", "--method", "ov2vss:world")
    assert "NaN or infinity, refused where a network reads it (1): a" in out


def _release_tree() -> dict[str, Tensor]:
    """An official tree of zeros that takes no memory, on disk neither."""
    names = segmenter_on_meta("ov2vss", "release").official_names()  # type: ignore[attr-defined]
    return {name: torch.zeros(()).expand(shape) for name, shape in names.items()}


def test_inspect_and_run_agree_on_a_release_tree_without_clip(tmp_path: Path) -> None:
    tree, inside = _release_tree(), "decode_head.predictor.clip_model."
    (whole,) = best_fits(tree, {}, "ov2vss", "release")
    assert whole.loads and not whole.remark and not whole.of_clip
    bare = {name: value for name, value in tree.items() if not name.startswith(inside)}
    (fit,) = best_fits(bare, {}, "ov2vss", "release")
    assert fit.loads and "holds no CLIP: --set clip_weights=FILE" in fit.remark
    assert len(fit.of_clip) == len(tree) - len(bare) and all(n.startswith(inside) for n in fit.of_clip)
    torch.save(bare, tmp_path / "bare.pth")
    with pytest.raises(UserError, match="holds no CLIP, and none was given") as caught:
        ovbench.create("ov2vss", "release", tmp_path / "bare.pth")
    assert "clip_weights=FILE" in (caught.value.hint or "")
    given = segmenter_on_meta("ov2vss", "release")
    given.own_clip = given.clip_given = True  # type: ignore[attr-defined]
    for state in (bare, tree, {**bare, inside + "stranger": torch.zeros(1)}):  # a CLIP inside is left out
        given.load_official(state)  # type: ignore[attr-defined]
        assert not given.untrained
    (cut,) = best_fits(
        {n: v for n, v in tree.items() if "clip_model.visual" not in n}, {}, "ov2vss", "release"
    )
    assert not cut.loads and "missing" in cut.remark


@pytest.mark.slow
def test_the_release_profile_takes_clip_from_its_own_file(tmp_path: Path) -> None:
    tree, inside = _release_tree(), "decode_head.predictor.clip_model."
    torch.save({n: v for n, v in tree.items() if not n.startswith(inside)}, tmp_path / "bare.pth")
    clip = {n.removeprefix(inside): (v + 0.5) for n, v in tree.items() if n.startswith(inside)}
    torch.save({**clip, "input_resolution": torch.tensor(224)}, tmp_path / "clip.pth")
    made = ovbench.create("ov2vss", "release", tmp_path / "bare.pth", clip_weights=str(tmp_path / "clip.pth"))
    network: Any = made.network  # type: ignore[attr-defined]
    assert float(network.pair.model.ln_final.bias[0]) == 0.5 and not made.untrained
    assert float(network.decode_head.predictor.corr.conv1.bias[0]) == 0
