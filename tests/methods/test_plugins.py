"""Methods of other packages, found through entry points."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest

import ovbench
from ovbench.datasets.base import ArrayVideo
from ovbench.methods import registry

CARD = """
id = "stripes"
title = "Stripes"
kind = "image"
segmenter = "stripes_plugin:build"
[options]
width = 2
"""
CODE = """
import numpy as np
import ovbench

class Stripes(ovbench.FrameSegmenter):
    def __init__(self, width):
        self.width = width
    def segment_frame(self, image):
        height, width = image.shape[:2]
        columns = np.arange(width) // self.width % len(self.vocabulary)
        return np.broadcast_to(columns, (height, width)).astype(np.uint8)

def build(setup):
    return Stripes(setup.options["width"])
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package with one method, installed as far as Python can tell."""
    folder = tmp_path / "stripes_plugin"
    folder.mkdir()
    (folder / "method.toml").write_text(CARD)
    (folder / "__init__.py").write_text(CODE)
    monkeypatch.delitem(sys.modules, "stripes_plugin", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    point = EntryPoint("stripes", "stripes_plugin", registry.ENTRY_POINTS)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])
    registry.cards.cache_clear()
    yield folder
    registry.cards.cache_clear()


def test_a_plugin_is_a_method_like_any_other(plugin: Path) -> None:
    segmenter = ovbench.create("stripes+vote", width=1)
    segmenter.prepare(ovbench.Vocabulary(["a", "b"]))
    maps = list(segmenter.segment(ArrayVideo(np.zeros((3, 2, 4, 3), np.uint8))))
    assert [m.tolist() for m in maps] == [[[0, 1, 0, 1]] * 2] * 3


@pytest.mark.parametrize("text", ["id = 3", CARD.replace('"stripes"', '"random"', 1)])
def test_a_broken_plugin_is_left_out_with_a_warning(plugin: Path, text: str) -> None:
    (plugin / "method.toml").write_text(text)
    registry.cards.cache_clear()
    with pytest.warns(UserWarning, match="plugin 'stripes' is left out"):
        found = registry.cards()
    assert "stripes" not in found
    assert found["random"].folder.name == "controls"
