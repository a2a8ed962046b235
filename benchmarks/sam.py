"""Regions of a frame at SAM's full size: our grid of points beside segment-anything's automatic generator.

    python benchmarks/sam.py [--sam vit_b] [--side 8] [--size 480x853]

Weights are name-seeded, so masks mean nothing; thresholds are set so that a part of them passes, as with real ones.
The image encoder is the same for both and timed alone. CPU seconds, one thread.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from ovbench.baselines.sam_clip.config import GridConfig
from ovbench.baselines.sam_clip.proposals import AutomaticProposer, GridProposer
from ovbench.baselines.sam_clip.regions import Regions
from ovbench.baselines.sam_clip.sam import load_sam


def main() -> None:
    """Print one line per part."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sam", default="vit_b", choices=["vit_b", "vit_l", "vit_h"])
    parser.add_argument("--side", type=int, default=8, help="points per side of the grid; 32 as in real use")
    parser.add_argument("--size", default="480x853", help="height x width of the frame")
    given = parser.parse_args()
    torch.set_num_threads(1)
    height, width = (int(part) for part in given.size.split("x"))
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    sam = load_sam(given.sam, None)
    reuse_encoding(sam, image)
    sam.mask_decoder.iou_prediction_head.layers[
        -1
    ].bias += 1.5  # at or below 0 the package looks at no threshold
    config = GridConfig(points_per_side=given.side, stability=0.0, stability_offset=0.1, quality=0.0, nms=1.0)
    config = replace(config, quality=passed_by_some(GridProposer(sam, config, given.sam)(image)))
    theirs = timed("the package's generator", lambda: AutomaticProposer(sam, config, given.sam)(image))
    ours = timed("our grid", lambda: GridProposer(sam, config, given.sam)(image))
    both = (ours.masks & theirs.masks).flatten(1).sum(1)
    least = (both / (ours.masks | theirs.masks).flatten(1).sum(1)).min()
    print(
        f"{given.side**2} points; {len(theirs)} masks theirs, {len(ours)} ours, least IoU in pairs {least:.6f}"
    )


def reuse_encoding(sam: Any, image: np.ndarray[Any, Any]) -> None:
    """Encode once, timed, and give that encoding to whoever asks."""
    from segment_anything.utils.transforms import ResizeLongestSide

    shown = ResizeLongestSide(sam.image_encoder.img_size).apply_image(image)
    pixels = sam.preprocess(torch.as_tensor(shown).permute(2, 0, 1)[None])
    with torch.inference_mode():
        encoding = timed("image encoder", lambda: sam.image_encoder(pixels))
    sam.image_encoder.forward = lambda _: encoding


def passed_by_some(regions: Regions) -> float:
    """A threshold that three of ten masks pass."""
    return float(regions.quality.quantile(0.7))


def timed(what: str, run: Callable[[], Any]) -> Any:
    """Run and print CPU seconds."""
    start = time.process_time()
    found = run()
    print(f"{what}: {time.process_time() - start:.2f} CPU-s", flush=True)
    return found


if __name__ == "__main__":
    main()
