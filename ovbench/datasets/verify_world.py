"""The world's check: stored clips against clips made anew, and ids against the protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ovbench.core.paths import cache_dir
from ovbench.protocol.schema import Protocol

from .files import UNDECLARED
from .open import Subset, open_unchecked
from .scan import Finding
from .world.dataset import WorldDataset, make_clip


def verify_world(
    protocol: Protocol, train: bool, progress: Callable[[int, int, str], None] | None
) -> list[Finding]:
    """Findings for a split of the world: each clip is made anew and compared with what a run reads."""
    dataset = open_unchecked(protocol, None, train=train)
    whole = dataset.whole if isinstance(dataset, Subset) else dataset
    assert isinstance(whole, WorldDataset)
    findings: list[Finding] = []
    frames = 0
    for done, video_id in enumerate(dataset.video_ids):
        if progress is not None:
            progress(done, len(dataset.video_ids), video_id)
        frames += dataset.frame_count(video_id)
        findings += _check_clip(protocol, whole, video_id)
    summary = f"checked world {dataset.split}: {len(dataset.video_ids)} clips, {frames} frames"
    return [*findings, Finding("info", summary, "generated on demand")]


def _check_clip(protocol: Protocol, world: WorldDataset, video_id: str) -> Iterator[Finding]:
    video = world.open(video_id)
    frames, masks, _ = make_clip(world.track, world.split, world.video_ids.index(video_id))
    same = len(video) == len(frames) and all(
        np.array_equal(video.image(t), frames[t]) and np.array_equal(video.truth(t), masks[t])
        for t in range(len(frames))
    )
    if not same:
        yield Finding(
            "error",
            f"the stored clip '{video_id}' differs from the one the generator makes",
            str(cache_dir("world")),
            "delete this folder; the clips are made again",
        )
    strange = [int(i) for i in np.unique(masks) if protocol.truth_table[i] == UNDECLARED]
    if strange:
        yield Finding(
            "error",
            f"ids {', '.join(map(str, strange))} of clip '{video_id}' are not declared",
            f"protocol '{protocol.id}'",
            "protocol and world do not belong together; install one version of ovbench",
        )
