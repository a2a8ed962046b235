"""The wheel: one top-level name, the data rooms inside, and a base install that scores without torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest
from make_trees import make_camvid

from ovbench.datasets.open import open_dataset
from ovbench.protocol.load import load_protocol, protocol_ids
from ovbench.store.masks import write_mask

CHECKOUT = Path(__file__).resolve().parents[2]
PROTOCOL = "camvid-8-3-gzs"

pytestmark = pytest.mark.slow


def call(*command: str | Path, cwd: Path, fails: bool = False) -> str:
    """Standard output of a command, run as a stranger would: nothing of this environment leaks in."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV", "COV"))}
    done = subprocess.run([*map(str, command)], cwd=cwd, env=env, capture_output=True, text=True, timeout=900)
    assert (done.returncode != 0) == fails, f"{command} gave {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    call(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=CHECKOUT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """bin/ of a new environment with the wheel and its base dependencies."""
    folder = tmp_path_factory.mktemp("clean")
    venv.create(folder, with_pip=True)
    call(folder / "bin" / "python", "-m", "pip", "install", "-q", wheel, cwd=folder)
    return folder / "bin"


def test_contents(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {n.split("/")[0].split("-")[0] for n in names} == {"ovbench"}
    assert not [n for n in names if "__pycache__" in n or n.endswith(".pyc")]
    for name in protocol_ids():
        assert f"ovbench/protocols/{name}.toml" in names
    cards = [p.relative_to(CHECKOUT).as_posix() for p in CHECKOUT.glob("baselines/*/method*.toml")]
    shipped = [p.relative_to(CHECKOUT).as_posix() for p in CHECKOUT.glob("baselines/**/*.safetensors")]
    assert cards and {f"ovbench/{n}" for n in (*cards, *shipped)} <= set(names)
    assert "ovbench/py.typed" in names and any(n.endswith("licenses/LICENSE") for n in names)
    assert any(n.startswith("ovbench/results/") for n in names)


def test_a_clean_install_scores_without_torch(installed, tmp_path):
    ovbench = installed / "ovbench"
    for verb in ("run", "score", "train", "table", "compare", "methods", "protocols", "data", "doctor"):
        assert f"\n  {verb} " in call(ovbench, "--help", cwd=tmp_path)
    listed = call(ovbench, "protocols", cwd=tmp_path)
    assert all(name in listed for name in protocol_ids())
    assert "majority" in call(ovbench, "methods", cwd=tmp_path)
    call(installed / "python", "-c", "import torch", cwd=tmp_path, fails=True)

    root = make_camvid(tmp_path / "data")
    protocol = load_protocol(PROTOCOL)
    dataset = open_dataset(protocol, root)
    for video_id in dataset.video_ids:
        video = dataset.open(video_id)
        for i, frame in enumerate(video.frame_names):
            raw = video.truth(i)  # ids 0..10 are the vocabulary indices
            write_mask(
                tmp_path / "maps" / video_id / f"{frame}.png", np.where(raw > 10, 255, raw).astype(np.uint8)
            )
    options = ["--predictions", "maps", "--protocol", PROTOCOL, "--data-root", "data", "--out", "out"]
    last = call(ovbench, "score", *options, cwd=tmp_path).splitlines()[-1]
    summary = json.loads((tmp_path / last).read_text())
    assert summary["scores"]["all"]["miou"] == summary["scores"]["harmonic"]["miou"] == 100
    table = call(ovbench, "table", "out", cwd=tmp_path)
    assert protocol.hash[:12] in table and "predictions (maps)" in table
    assert "100.0" in call(ovbench, "compare", "out", "out", cwd=tmp_path)
