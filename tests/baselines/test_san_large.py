"""SAN with CLIP ViT-L/14 at 336 pixels: the large network runs, and sees what its options say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from mask_methods import picture

from ovbench.methods.create import create
from ovbench.protocol.vocabulary import Vocabulary

NAMES = Vocabulary(["road", "tall tree", "sky"])


@pytest.mark.slow
def test_the_large_network_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame of 128x192, weights made from names."""
    made: Any = create("san", "l14-336", untrained=True, templates="single")
    net, seen = made.network.net, []
    made.prepare(NAMES)
    look = net.look

    def noted(images: torch.Tensor) -> Any:
        maps, start = look(images)
        seen.extend(tuple(cells.shape[1:]) for cells in maps)
        return maps, start

    monkeypatch.setattr(net, "look", noted)
    scores = made.scores(picture(128, 192), resize=False)
    assert scores.shape == (3, 128, 192) and np.isfinite(scores).all() and scores.min() >= 0
    assert (scores.reshape(3, -1).max(1) > 0).all()
    # CLIP sees 0.7 of the frame, rounded down (89x134), in whole patches of 14; its first 18 blocks and the start.
    assert len(seen) == 19 and all(shape == (1024, 6, 9) for shape in seen)
    assert np.array_equal(made.segment_frame(picture(32, 64)).shape, (32, 64))
