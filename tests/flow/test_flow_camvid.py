"""Real video: the truth of CamVid along DIS."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ovbench.datasets.open import open_dataset
from ovbench.flow.compare import FlowSet
from ovbench.flow.open import parse_all
from ovbench.metrics.flow import FlowCounter, video_tc, warped_change
from ovbench.protocol.load import load_protocol


def test_flow_explains_a_part_of_what_changes(camvid_root: Path) -> None:
    pytest.importorskip("cv2")
    dataset = open_dataset(load_protocol("camvid-8-3-gzs"), camvid_root)
    video = dataset.open(dataset.video_ids[0])
    comparison, still = FlowSet(parse_all(["dis", "dis-fb"])).video(video), FlowCounter()
    masks = [video.truth(t) for t in range(6)]
    for t, mask in enumerate(masks):
        comparison.update(mask)
        if t:
            still.add(t - 1, masks[t - 1], mask, np.zeros((*mask.shape, 2), np.float32))
    found = {**comparison.finish(), "still": still.finish()}
    tc = {name: video_tc(counts) for name, counts in found.items()}
    changed, pixels = {}, {}
    for name, counts in found.items():
        changed[name], pixels[name] = warped_change(counts)
    assert tc["dis-fb"] > tc["dis"] > tc["still"]
    rate = {name: changed[name] / pixels[name] for name in found}
    assert rate["dis-fb"] < rate["dis"] < 0.9 * rate["still"]
