"""What ZegFormer, zsseg, DeOP, FreeSeg, SAN and SAM+CLIP cost at full size on a CPU, beside their official codes.

    python benchmarks/baselines.py [--method zegformer] [--threads 1] [--quick]

Each method runs in a process of its own, with weights made from names, on one generated frame of the size and with the
number of names with which the official code was measured. Times are CPU seconds of that process (all its threads), so
they can be compared across machines that are shared; a stage's time does not hold that of stages inside it. Text
is encoded once per vocabulary, without a cache from before. Peak memory is that of the whole process with its weights,
in decimal gigabytes (1e9 bytes). The official figures were noted as "GB" without saying which; read so they are the
smaller ones, hence the stricter to be compared with. SAM+CLIP has no official code. A SAM whose weights are made from
names lets no mask through, so that 100 equal tiles of the frame stand in for regions there: points are asked at all
32x32 places, masks are not drawn. `--weights FILE` takes a method's weights from a file instead.
`--quick` runs the small sizes of the same code, which says nothing about cost, only that the script works.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np

NAMES = (
    "road",
    "sidewalk",
    "building",
    "wall",
    "fence",
    "pole",
    "traffic light",
    "sign",
    "tree",
    "sky",
    "person",
    "car",
)
STAGES = (
    "resize",
    "backbone",
    "SAM image",
    "SAM points",
    "pixel decoder",
    "names to maps",
    "transformer",
    "masks",
    "crops",
    "CLIP image",
    "combine",
    "rest",
)


@dataclass(frozen=True)
class Official:
    """CPU seconds and memory of an official code; a stage that was not measured by itself is missing."""

    frame: float  # CPU seconds for a frame
    gigabytes: float
    text: str  # what its text costs, and when
    stages: Mapping[str, float]
    source: str


@dataclass(frozen=True)
class Case:
    """How a method is run, as its official code was, if there is one."""

    variant: str
    size: tuple[int, int]
    resize: bool
    official: Official | None


_SOURCE = "run on two shared CPU cores, torch 2.13 or 2.15, float32, weights made from names, 12 names"
CASES = {
    "zegformer": Case(
        "coco-r101",
        (470, 630),
        False,
        Official(
            67.0,
            3.85,
            "0.13 a prompt, once",
            {
                "backbone": 5.5,
                "pixel decoder": 0.9,
                "transformer": 1.7,
                "CLIP image": 54.4,
                "crops": 1.1,
                "rest": 3.0,
            },
            f"dingjiansw101/ZegFormer at 8cb9e8f, {_SOURCE}, 100 crops",
        ),
    ),
    "zsseg": Case(
        "r101c-vild-ade150",
        (480, 640),
        True,
        Official(
            67.0,
            3.4,
            "30 to 40, once",
            {},
            f"MendelXu/zsseg.baseline at d77c3af, {_SOURCE}, 100 regions",
        ),
    ),
    "deop": Case(
        "coco-r101",
        (470, 630),
        False,
        Official(
            11.0,
            2.05,
            "1.6, every frame (in the total)",
            {"backbone": 4.0, "pixel decoder": 0.7, "transformer": 0.4, "CLIP image": 4.6, "rest": 0.1},
            f"CongHan0808/DeOP at 614454c, {_SOURCE}; backbone 2.9 to 5",
        ),
    ),
    "freeseg": Case(
        "coco-r101",
        (470, 630),
        False,
        Official(
            80.0,
            3.15,
            "4.7, every frame (in the total)",
            {
                "backbone": 5.1,
                "pixel decoder": 4.3,
                "names to maps": 1.7,
                "transformer": 3.5,
                "CLIP image": 55.2,
                "crops": 5.1,
                "rest": 0.4,
            },
            f"bytedance/FreeSeg at 7707335, {_SOURCE}, 100 crops",
        ),
    ),
    "san": Case(
        "b16",
        (480, 640),
        True,
        Official(7.7, 1.75, "30 to 40, once", {}, f"MendelXu/SAN at e19262d, {_SOURCE}; a frame 7.7 to 8.5"),
    ),
    "sam-clip": Case("vit-b", (470, 630), False, None),
}
_TILES = 10  # rows and columns of the tiles that stand in for SAM's regions


@dataclass
class Clock:
    """CPU seconds by stage. Where stages are nested, time counts for the innermost alone."""

    spent: dict[str, float] = field(default_factory=dict)
    _open: list[str] = field(default_factory=list)
    _since: float = 0.0

    def _pass(self) -> None:
        now = time.process_time()
        if self._open:
            self.spent[self._open[-1]] = self.spent.get(self._open[-1], 0.0) + now - self._since
        self._since = now

    def measure(self, stage: str, work: Callable[[], Any]) -> Any:
        """What `work` gives; its time goes to `stage`."""
        self._pass()
        self._open.append(stage)
        try:
            return work()
        finally:
            self._pass()
            self._open.pop()

    def watch(self, owner: Any, name: str, stage: str, seen: Callable[..., None] | None = None) -> None:
        """From now on, time of the function `owner.name` goes to `stage`; `seen` is given its arguments."""
        inner = getattr(owner, name)

        def watched(*args: Any, **kwargs: Any) -> Any:
            if seen is not None:
                seen(*args)
            return self.measure(stage, lambda: inner(*args, **kwargs))

        setattr(owner, name, watched)


def frame(height: int, width: int) -> Any:
    """(H, W, 3) uint8: coloured blocks with noise."""
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 256, (height // 32 + 1, width // 32 + 1, 3)).repeat(32, 0).repeat(32, 1)
    noisy = blocks[:height, :width] + rng.integers(-20, 21, (height, width, 3))
    return noisy.clip(0, 255).astype(np.uint8)


def watch_all(clock: Clock, method: str, network: Any) -> list[int]:
    """Attach the clock to a method's stages; gives the list that sizes of CLIP's batches will go to."""
    crops: list[int] = []
    model, regions = import_module("ovbench.nn.maskmodel"), import_module("ovbench.nn.regions")
    if method == "sam-clip":
        return watch_sam(clock, network)
    own = import_module(f"ovbench.baselines.{method}.network")
    clock.watch(model, "resize_shortest", "resize")
    net = network.net
    if method == "san":
        clock.watch(net.clip_visual_extractor, "forward", "CLIP image")
        clock.watch(net.clip_rec_head, "forward", "CLIP image")
        clock.watch(net.side_adapter_network.vit_model, "patches", "transformer")
        for block in net.side_adapter_network.vit_model.blocks:
            clock.watch(block, "forward", "transformer")
        clock.watch(net.side_adapter_network.mask_decoder, "forward", "masks")
        clock.watch(own, "combine_resized", "combine")
        return crops
    clock.watch(net.backbone, "forward", "backbone")
    clock.watch(net.sem_seg_head["pixel_decoder"], "forward", "pixel decoder")
    clock.watch(net.predictor, "decode", "transformer")
    clock.watch(net.predictor, "masks", "masks")
    if method in ("zsseg", "freeseg"):
        own = import_module("ovbench.nn.regionmodel")
    if method == "freeseg":
        clock.watch(net.sem_seg_head["interaction"], "forward", "names to maps")
    clock.watch(own, "postprocess", "combine")
    if method == "deop":
        clock.watch(net, "dense", "CLIP image")
        clock.watch(own, "combine_enlarged", "combine")
        return crops
    clock.watch(own, "enlarge", "masks")
    clock.watch(own, "combine_probs", "combine")
    clock.watch(regions, "encode_images", "CLIP image", lambda _, images: crops.append(len(images)))
    if method == "zegformer":
        place = import_module("ovbench.baselines.zegformer.regions")
        clock.watch(place.Regions, "crop", "crops")
        clock.watch(own, "Regions", "crops")
    else:
        place = own
        for name in ("tight_boxes", "masked_crop", "_key"):
            clock.watch(place, name, "crops")
    clock.watch(place, "look_at_frame", "CLIP image")
    return crops


def watch_sam(clock: Clock, segmenter: Any) -> list[int]:
    """As `watch_all`; where SAM's weights are made from names, tiles stand in for its regions."""
    own, regions = import_module("ovbench.baselines.sam_clip.segmenter"), import_module("ovbench.nn.regions")
    crops: list[int] = []
    proposer = segmenter.proposer
    if hasattr(proposer, "generator"):
        clock.watch(proposer.model.image_encoder, "forward", "SAM image")
        for name in ("open", "ask"):
            clock.watch(proposer.generator.decoder, name, "SAM points")
        clock.watch(proposer.generator.decoder, "masks", "masks")
        if segmenter.untrained:
            segmenter.proposer = lambda image: tiles(proposer(image), image)
    else:
        clock.watch(proposer.maker, "draw", "masks")
    clock.watch(regions, "encode_images", "CLIP image", lambda _, images: crops.append(len(images)))
    looks = import_module("ovbench.baselines.sam_clip.looks")
    clock.watch(looks, "masked_crop", "crops")
    clock.watch(looks, "look_at_frame", "CLIP image")
    clock.watch(own, "fuse", "combine")
    return crops


def tiles(found: Any, image: Any) -> Any:
    """A frame's regions, or where there is none, tiles."""
    import torch

    if len(found):
        return found
    regions = import_module("ovbench.baselines.sam_clip.regions")
    height, width = image.shape[:2]
    row = torch.arange(height)[:, None] * _TILES // height
    column = torch.arange(width)[None] * _TILES // width
    masks = (row * _TILES + column)[None] == torch.arange(_TILES**2)[:, None, None]
    one = torch.ones(len(masks))
    return regions.Regions(masks, one, one, regions.inclusive_boxes(masks))


def run(method: str, threads: int, quick: bool, weights: str | None = None) -> dict[str, Any]:
    """One frame of one method in this process; without a file of weights, they are made from names."""
    import torch

    from ovbench.methods.create import create
    from ovbench.protocol.vocabulary import Vocabulary

    torch.set_num_threads(threads)
    case = CASES[method]
    names = ["red plain square", "blue dotted sky", "cyan checkered floor"] if quick else NAMES
    variant = "world" if quick else case.variant
    segmenter: Any = create(method, variant, weights=weights, untrained=None if weights else True)
    clock = Clock()
    crops = watch_all(clock, method, getattr(segmenter, "network", segmenter))
    clock.measure("text", lambda: segmenter.prepare(Vocabulary(names)))
    text = clock.spent.pop("text")
    image = frame(*((96, 160) if quick else case.size))
    resize = case.resize and not quick
    scores = clock.measure("rest", lambda: segmenter.scores(image, resize=resize))
    if not np.isfinite(scores).all():
        sys.exit(f"{method}: scores that are not finite")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9  # of KiB
    return {"stages": clock.spent, "text": text, "gigabytes": peak, "crops": sum(crops), "names": len(names)}


def apart(method: str, threads: int, quick: bool, weights: str | None = None) -> dict[str, Any]:
    """`run` in a process of its own, with an empty cache."""
    with tempfile.TemporaryDirectory() as cache:
        threaded = {"OMP_NUM_THREADS": str(threads), "OVBENCH_CACHE": cache}
        command = [sys.executable, __file__, "--method", method, "--threads", str(threads), "--inside"]
        done = subprocess.run(
            [*command, *["--quick"] * quick, *(["--weights", weights] if weights else [])],
            env={**os.environ, **threaded},
            capture_output=True,
            text=True,
        )
    if done.returncode:
        sys.exit(f"{method}: {done.stderr.strip()}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def show(method: str, found: Mapping[str, Any], threads: int, quick: bool) -> None:
    """A table in Markdown."""
    case = CASES[method]
    official = None if quick else case.official
    size = (96, 160) if quick else case.size
    looked = f", {found['crops']} crops seen by CLIP" if found["crops"] else ""
    print(f"\n**{method}**, {'world' if quick else case.variant}, {size[0]}x{size[1]}", end="")
    print(f"{' resized' * (case.resize and not quick)}, {found['names']} names{looked}; threads: {threads}\n")
    print("| CPU seconds | ours | official | official / ours |\n|---|---|---|---|")
    stages = official.stages if official else {}
    rows = [(s, found["stages"].get(s), stages.get(s)) for s in STAGES]
    total = sum(found["stages"].values())
    for name, ours, theirs in [*rows, ("a frame", total, official.frame if official else None)]:
        if ours is None and theirs is None:
            continue
        ratio = f"{theirs / ours:.2f}" if theirs and ours else ""
        print(f"| {name} | {ours or 0:.2f} | {'' if theirs is None else f'{theirs:g}'} | {ratio} |")
    print(f"| text, once | {found['text']:.2f} | {official.text if official else ''} | |")
    there, ratio = "", ""
    if official:
        there, ratio = f"{official.gigabytes:g}", f"{official.gigabytes / found['gigabytes']:.2f}"
    print(f"| peak memory, GB (1e9 bytes) | {found['gigabytes']:.2f} | {there} | {ratio} |")
    if not quick:
        print(f"\nOfficial: {official.source if official else 'none; never released'}.", flush=True)


def main() -> None:
    """Measure, print, and exit with 1 where a frame or memory costs more than officially."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--method", choices=list(CASES), action="append", help="may be repeated; default: all"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it works")
    parser.add_argument("--weights", metavar="FILE", help="of the one --method; default: made from names")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.weights and len(args.method or ()) != 1:
        parser.error("--weights needs one --method")
    if args.inside:
        print(json.dumps(run(args.method[0], args.threads, args.quick, args.weights)))
        return
    dearer = []
    for method in args.method or CASES:
        found, official = apart(method, args.threads, args.quick, args.weights), CASES[method].official
        show(method, found, args.threads, args.quick)
        if args.quick or official is None:
            continue
        if sum(found["stages"].values()) > official.frame or found["gigabytes"] > official.gigabytes:
            dearer.append(method)
    if dearer:
        sys.exit(f"costs more than officially: {', '.join(dearer)}")


if __name__ == "__main__":
    main()
