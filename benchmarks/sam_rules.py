"""sam-clip's choices for the embedded world, on its training videos: rules for regions that overlap, and thresholds.

    python benchmarks/sam_rules.py [--weights FILE] [--videos 60] [--frames 2]

Pixels of unseen classes and void are left out, so that nothing is chosen by what a test will ask. All choices see the
same regions: the mask maker is asked once per frame.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch
from ovbench.baselines.sam_clip.fusion import RULES, class_scores, fill_nearest
from ovbench.baselines.sam_clip.regions import Regions, cut, suppress_masks

from ovbench.core.paths import room
from ovbench.datasets.open import open_dataset
from ovbench.engine.targets import IGNORE, SeenTargets
from ovbench.methods.create import create
from ovbench.protocol.load import load_protocol

PROTOCOL = "world-27-9"
WEIGHTS = room("baselines") / "sam_clip" / "weights" / "world-seed0.safetensors"
CHOICES = {
    **{rule: (rule, 0.0, 0.5) for rule in RULES},
    **{f"sum, nms {nms}": ("sum", 0.0, nms) for nms in (0.3, 0.7, 0.9)},
    **{f"sum, quality {least}": ("sum", least, 0.5) for least in (0.3, 0.5, 0.7)},
}
"""Rule, least guessed IoU, IoU of duplicates; the card's are "sum", 0 and 0.5."""


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--weights", default=str(WEIGHTS))
    parser.add_argument("--videos", type=int, default=60, help="of the training split, evenly spaced")
    parser.add_argument("--frames", type=int, default=2, help="of each, evenly spaced")
    given = parser.parse_args()
    torch.set_num_threads(1)
    protocol = load_protocol(PROTOCOL)
    segmenter: Any = create("sam-clip", "world", weights=given.weights)
    rows = protocol.classes
    segmenter.prepare(protocol.vocabulary)
    targets = SeenTargets(protocol)
    # Predictions are classes of the whole vocabulary: an unseen name for a seen pixel is wrong.
    number = np.full(256, IGNORE, np.int64)
    number[: len(targets.classes)] = targets.classes
    counts = {name: np.zeros((len(rows), len(rows)), np.int64) for name in CHOICES}
    frames = 0
    for image, labels in _frames(protocol, targets, given.videos, given.frames):
        truth = number[labels]
        asked = truth != IGNORE
        for name, found in _labels(segmenter, image).items():
            np.add.at(counts[name], (truth[asked], found[asked]), 1)
        frames += 1
    print(f"{frames} frames of {PROTOCOL}'s training videos, seen classes\n")
    print("| choice | mIoU | pAcc |\n|---|--:|--:|")
    for name, table in counts.items():
        print(f"| `{name}` | {100 * _miou(table):.1f} | {100 * np.trace(table) / table.sum():.1f} |")


def _frames(protocol: Any, targets: SeenTargets, videos: int, frames: int) -> Any:
    """Pairs of a frame and its targets."""
    dataset = open_dataset(protocol, None, train=True)
    ids = dataset.video_ids
    for video_id in ids[:: max(1, len(ids) // videos)][:videos]:
        video = dataset.open(video_id)
        for index in range(0, len(video), -(-len(video) // frames)):
            if video.annotated(index):
                yield video.image(index), targets.read(video, index)


@torch.inference_mode()
def _labels(segmenter: Any, image: Any) -> dict[str, Any]:
    """Label maps of one frame by choice."""
    proposer, config = segmenter.proposer, segmenter.config
    logits, quality = proposer.maker.draw(image, proposer.points)
    every = cut(logits, quality, config.stability, config.stability_offset)
    named: dict[tuple[float, float], tuple[Regions, Any]] = {}
    maps = {}
    for name, (rule, least, nms) in CHOICES.items():
        if (least, nms) not in named:
            kept = every[every.quality > least]
            kept = suppress_masks(kept, kept.quality, nms)
            named[least, nms] = kept, segmenter.name(image, kept) if len(kept) else None
        regions, probs = named[least, nms]
        if probs is None:
            maps[name] = np.zeros(image.shape[:2], np.int64)
        else:
            maps[name] = fill_nearest(*class_scores(regions, probs, rule)).argmax(0).numpy()
    return maps


def _miou(table: Any) -> float:
    """Over the classes that occur in the truth."""
    hits, truth = np.diag(table), table.sum(1)
    there = truth > 0
    return float((hits[there] / (truth + table.sum(0) - hits)[there]).mean())


if __name__ == "__main__":
    main()
