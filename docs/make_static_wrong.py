"""Draw docs/img/static-wrong.png: a prediction that never moves and is never right, beside a real method.

    python -m docs.make_static_wrong [OUT]          # from the root of a checkout

Both are counted by the same code as any run (`VideoCounter`, `summarize`) on one test clip of the embedded
world; the numbers in the picture are its numbers. Needs the extra "models".
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from numpy.typing import NDArray

import ovbench
from ovbench.datasets.base import Video
from ovbench.metrics.counts import VideoCounts, counter_for
from ovbench.metrics.score import summarize
from ovbench.protocol.schema import Protocol

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.patches import Patch

OUT = Path(__file__).parent / "img" / "static-wrong.png"
CLIP = "test-002"
SHOWN = (0, 9, 19)
# Okabe and Ito's colours, apart for all common forms of colour blindness; stripes tell names apart too.
PALETTE = ("#56B4E9", "#E69F00", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#999999")
STRANGER = "#4D4D4D"

Maps = list[NDArray[Any]]


@dataclass(frozen=True)
class Rec:
    video_id: str
    counts: VideoCounts


def wrong_names(video: Video, protocol: Protocol) -> dict[int, int]:
    """Each class of the clip -> a class of the vocabulary that no frame of the clip shows."""
    shown = {int(c) for t in range(len(video)) for c in np.unique(protocol.truth_table[video.truth(t)])}
    absent = [c for c in protocol.vocabulary_classes if c not in shown]
    return dict(zip(sorted(shown), absent, strict=False))


def static_wrong(video: Video, protocol: Protocol) -> Maps:
    """The first truth mask for ever, each class under the name of one that the clip does not show."""
    rename = np.zeros(256, np.uint8)
    for here, wrong in wrong_names(video, protocol).items():
        rename[here] = protocol.vocabulary_classes.index(wrong)
    return [rename[protocol.truth_table[video.truth(0)]]] * len(video)


def real(video: Video, protocol: Protocol) -> Maps:
    """MaskCLIP with the weights that ship with ovbench."""
    method = ovbench.create("maskclip", "world")
    method.prepare(protocol.vocabulary)
    return list(method.segment(video))


def numbers(video: Video, maps: Maps, protocol: Protocol) -> tuple[float, float, float]:
    """VC8 script, VC8 correct and mIoU in percent."""
    counter = counter_for(protocol)
    for t, label_map in enumerate(maps):
        counter.update(video.truth(t), label_map)
    name = video.id
    summary = summarize(protocol, [Rec(name, counter.finish())], {}, expected_videos=[name])
    vc8 = summary["temporal"]["vc8"]
    return vc8["script"], vc8["correct"], summary["scores"]["all"]["miou"]


def paint(classes: NDArray[Any], colors: dict[int, str], striped: bool) -> NDArray[np.uint8]:
    """(H, W) class indices -> RGB; names that the clip does not show are striped."""
    picture = np.zeros((*classes.shape, 3), np.uint8)
    down, across = np.indices(classes.shape)
    stripes = (down + across) % 10 < 3
    for index in np.unique(classes):
        place = classes == index
        color = colors.get(int(index))
        picture[place] = [int((color or STRANGER)[i : i + 2], 16) for i in (1, 3, 5)]
        if striped or color is None:
            picture[place & stripes] = 0
    return picture


def draw(out: Path = OUT) -> dict[str, tuple[float, float, float]]:
    """Write the picture; returns the numbers in it by row."""
    protocol = ovbench.load_protocol("world-27-9")
    video = ovbench.open_dataset(protocol, None).open(CLIP)
    names = protocol.class_of_vocabulary
    rows = {"never moves,\nnever right": static_wrong(video, protocol), "MaskCLIP": real(video, protocol)}
    scores = {title: numbers(video, maps, protocol) for title, maps in rows.items()}
    swapped = wrong_names(video, protocol)
    colors = dict(zip(swapped, PALETTE, strict=True))
    wrong_colors = {swapped[c]: color for c, color in colors.items()}
    lines: list[tuple[str, Maps]] = [
        ("frame", [video.image(t) for t in SHOWN]),
        ("truth", [paint(protocol.truth_table[video.truth(t)], colors, False) for t in SHOWN]),
    ]
    palettes = ((wrong_colors, True), (colors, False))
    for (title, maps), (palette, striped) in zip(rows.items(), palettes, strict=True):
        lines.append((title, [paint(names[maps[t]], palette, striped) for t in SHOWN]))

    figure, axes = plt.subplots(len(lines), len(SHOWN) + 1, figsize=(10, 6.4), layout="constrained")
    for row, (title, pictures) in zip(axes, lines, strict=True):
        for place, t, picture in zip(row, SHOWN, pictures, strict=False):
            place.imshow(picture, interpolation="nearest")
            place.set(xticks=[], yticks=[])
            if title == "frame":
                place.set_title(f"frame {t}", fontsize=11)
        row[0].set_ylabel(title, fontsize=12)
        row[-1].axis("off")
        if title in scores:
            script, correct, miou = scores[title]
            text = f"VC8 script    {script:5.1f}\nVC8 correct   {correct:5.1f}\nmIoU          {miou:5.1f}"
            row[-1].text(0.05, 0.5, text, va="center", fontsize=14, family="monospace")
    labels = [Patch(facecolor=colors[c], label=protocol.classes[c].clean) for c in colors]
    labels.append(
        Patch(
            facecolor=STRANGER,
            hatch="////",
            edgecolor="black",
            label="striped: a name that nothing in the clip has",
        )
    )
    figure.legend(handles=labels, loc="outside lower center", ncols=4, fontsize=10, frameon=False)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=100, metadata={"Software": None})
    plt.close(figure)
    return scores


if __name__ == "__main__":
    for method, found in draw(*(Path(a) for a in sys.argv[1:2])).items():
        print(method.replace("\n", " "), "script, correct, mIoU:", *found)
