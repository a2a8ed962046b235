"""What to do with a pixel whose flow is not confirmed: how often is its class found in the frame before?

    python benchmarks/flow_twin.py [--videos 24] [--backend dis]

Looks at masks of the world's training clips, at no method and no test clip. This is where the default of the
option `flow_unconfirmed` of `METHOD+flow` comes from.
"""

from __future__ import annotations

import argparse

import numpy as np

from ovbench.datasets.open import open_dataset
from ovbench.flow.open import FlowSpec, open_backend
from ovbench.metrics.flow import landing, occluded
from ovbench.protocol.load import load_protocol


def measure(videos: int, backend: str) -> None:
    """Print, for confirmed and other pixels, how often the class is right in place and where the flow leads."""
    dataset = open_dataset(load_protocol("world-27-9"), None, train=True)
    flows = open_backend(FlowSpec(backend))
    total = np.zeros((2, 3), np.int64)  # confirmed or not; pixels, right in place, right along the flow
    for video_id in dataset.video_ids[:videos]:
        video = dataset.open(video_id)
        for t in range(1, len(video)):
            now, before = video.truth(t), video.truth(t - 1)
            flow = flows.of(video, t, t - 1)
            where, inside = landing(flow)
            confirmed = inside & ~occluded(flow, flows.of(video, t - 1, t))
            in_place, along = now == before, inside & (now == before.reshape(-1)[where])
            for row, part in enumerate((confirmed, ~confirmed)):
                total[row] += [part.sum(), in_place[part].sum(), along[part].sum()]
    share = total[:, 0] / total[:, 0].sum()
    for name, part, (pixels, place, along) in zip(("confirmed", "other"), share, total, strict=True):
        found = f"class found in place {place / pixels:.1%}, along the flow {along / pixels:.1%}"
        print(f"{name:<10}{part:7.1%} of pixels; {found}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=24)
    parser.add_argument("--backend", default="dis")
    arguments = parser.parse_args()
    measure(arguments.videos, arguments.backend)
