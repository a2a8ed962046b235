"""The wheel: one top-level name, the data rooms inside, and a base install that scores without torch."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest
from make_trees import make_camvid
from PIL import Image

from ovbench.datasets.open import open_dataset
from ovbench.protocol.load import load_protocol, protocol_ids
from ovbench.store.masks import write_mask

CHECKOUT = Path(__file__).resolve().parents[2]
PROTOCOL = "camvid-8-3-gzs"

pytestmark = pytest.mark.slow


def call(
    *command: str | Path, cwd: Path, fails: bool = False, errors: bool = False, **variables: str | Path
) -> str:
    """Output of a command, run as a stranger would: nothing of this environment leaks in but `variables`."""
    env = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith(("PYTHON", "VIRTUAL_ENV", "COV", "OVBENCH_NATIVE"))
    }
    env |= {k: str(v) for k, v in variables.items()}
    done = subprocess.run([*map(str, command)], cwd=cwd, env=env, capture_output=True, text=True, timeout=900)
    assert (done.returncode != 0) == fails, f"{command} gave {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout + (done.stderr if errors else "")


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


@pytest.fixture(scope="module")
def pure(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel made where no C compiler can be run."""
    folder = tmp_path_factory.mktemp("pure")
    command = ("hatchling", "build", "-t", "wheel", "-d", folder)
    said = call(sys.executable, "-m", *command, cwd=CHECKOUT, CC=folder / "no-compiler", errors=True)
    lines = [line for line in said.splitlines() if "compiled kernels" in line]
    assert len(lines) == 1 and "no-compiler' cannot be run" in lines[0], said
    (built,) = folder.glob("*.whl")
    return built


def kernels(wheel: Path) -> set[str]:
    return {n for n in zipfile.ZipFile(wheel).namelist() if n.endswith((".so", ".c"))}


def test_kernels_are_compiled_where_there_is_a_compiler(wheel):
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[0]
    if not shutil.which(compiler) or not Path(sysconfig.get_path("include"), "Python.h").is_file():
        pytest.skip("no C compiler or no Python headers")
    sources = {p.relative_to(CHECKOUT).with_suffix("") for p in (CHECKOUT / "ovbench").rglob("_*.c")}
    assert sources and kernels(wheel) == {f"{p.as_posix()}.abi3.so" for p in sources}
    assert "-cp311-abi3-" in wheel.name


READ = """
import hashlib, sys
from pathlib import Path
import ovbench.store.png as png
from ovbench.core.native import kernel
from ovbench.store.masks import read_mask
read = [read_mask(p) for p in sorted(Path(sys.argv[1]).glob("*.png"))]
print(kernel("store._png") is not None, len(read), hashlib.sha256(b"".join(m.tobytes() for m in read)).hexdigest())
"""


def test_a_pure_wheel_reads_the_same(wheel, pure, tmp_path):
    assert not kernels(pure) and pure.name.endswith("-py3-none-any.whl")
    rng = np.random.default_rng(1)
    (tmp_path / "masks").mkdir()
    for i in range(4):
        values = np.kron(rng.integers(0, 124, (9, 16)), np.ones((7, 9))).astype(np.uint8)
        Image.fromarray(values).save(tmp_path / f"masks/{i}.png")
    found = {}
    for path in (wheel, pure):
        folder = tmp_path / path.stem
        zipfile.ZipFile(path).extractall(folder)
        code = f"import sys; sys.path.insert(0, {str(folder)!r})\n{READ}"
        native, *rest = call(sys.executable, "-c", code, tmp_path / "masks", cwd=tmp_path).split()
        assert native == str(bool(kernels(path)))
        found[native] = rest
    assert all(rest == found["False"] and rest[0] == "4" for rest in found.values())


def test_a_source_distribution_carries_what_a_build_needs(tmp_path):
    call(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", tmp_path, cwd=CHECKOUT)
    (built,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(built) as archive:
        names = {n.partition("/")[2] for n in archive.getnames()}
    assert {"hatch_build.py", "pyproject.toml", "ovbench/store/_png.c"} <= names
    assert not [n for n in names if n.endswith(".so")]


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
