"""What all tests share: helpers on the import path, a cache of their own, real frames, one thread."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))  # `from make_trees import ...` in every test folder


@pytest.fixture(scope="session", autouse=True)
def ovbench_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Nothing a test makes lands in the user's cache; child processes inherit the folder."""
    before = os.environ.get("OVBENCH_CACHE")
    folder = tmp_path_factory.mktemp("cache")
    os.environ["OVBENCH_CACHE"] = str(folder)
    yield folder
    if before is None:
        del os.environ["OVBENCH_CACHE"]
    else:
        os.environ["OVBENCH_CACHE"] = before


@pytest.fixture(autouse=True)
def one_torch_thread() -> None:
    """Small models are faster and repeatable on one thread; torch is never imported for this."""
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "set_num_threads"):
        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def camvid_root() -> Path:
    """The real CamVid beside the checkout; without it the tests that need it are skipped."""
    root = HERE.parent.parent / "shared" / "camvid"
    if not (root / "valannot").is_dir():
        pytest.skip("CamVid in the SegNet layout is not at ../shared/camvid")
    return root


@pytest.fixture(scope="session")
def golden_root() -> Path:
    """Recordings of the official codes beside the checkout; without them the tests that need them are skipped."""
    root = HERE.parent.parent / "shared" / "golden"
    if not root.is_dir():
        pytest.skip("recordings of the official codes are not at ../shared/golden")
    return root
