"""What others do to score label maps, restated: the yardsticks of benchmarks/metrics.py.

Each peer does, with the same libraries and dtypes, what the named public code does to each frame, and returns its
scores. None of it is copied; sources are the files named in each docstring. Run as a script it times one peer:

    python benchmarks/peers.py DATA script      # CPU ms per frame, peak memory and scores as JSON
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CLASSES = 124
Frames = list[tuple[Path, Path]]


class Clock:
    """CPU seconds of this process, restarted once everything is imported."""

    began = time.process_time()

    @classmethod
    def restart(cls) -> None:
        cls.began = time.process_time()


def videos(data: Path) -> Iterator[Frames]:
    """(truth file, prediction file) of the frames of each video of a folder in the layout of standard_data.py."""
    for name in (data / "gt" / "val.txt").read_text().split():
        masks = sorted((data / "gt" / "data" / name / "mask").iterdir())
        yield [(m, data / "pred" / name / m.name) for m in masks]


def load(path: Path) -> Any:
    return np.array(Image.open(path))


def shifted(mask: Any) -> Any:
    """Raw VSPW ids -> 0..123, and 255 for both kinds of void."""
    mask[mask == 0] = 255
    mask = mask - 1
    mask[mask == 254] = 255
    return mask


def confusion_scores(table: Any) -> dict[str, float]:
    """Scores of a (truth, prediction) table, over the classes that occur in the truth."""
    table = table.astype(float)
    hit, truth, guess = np.diag(table), table.sum(1), table.sum(0)
    there = truth > 0
    iou = hit[there] / (truth + guess - hit)[there]
    return {"miou": float(100 * iou.mean()), "pacc": float(100 * hit.sum() / table.sum())}


def script(data: Path) -> dict[str, Any]:
    """The VSPW script (VC_perclip.py and its copies): videos in lists, two masked int64 histograms a frame,
    every window of 8 and 16 frames compared with each of its offsets."""
    total = np.zeros((CLASSES, CLASSES))
    windows: dict[int, list[float]] = {8: [], 16: []}

    def histogram(truth: Any, guess: Any) -> Any:
        valid = (truth >= 0) & (truth < CLASSES)
        codes = CLASSES * truth[valid].astype("int") + guess[valid]
        return np.bincount(codes, minlength=CLASSES**2).reshape(CLASSES, CLASSES)

    for frames in videos(data):
        if len(frames) <= 16:
            continue
        truths, guesses, own = [], [], np.zeros((CLASSES, CLASSES))
        for truth_file, guess_file in frames:
            truth, guess = shifted(load(truth_file)), load(guess_file)
            truths.append(truth)
            guesses.append(guess)
            total += histogram(truth[None], guess[None])
            own += histogram(truth[None], guess[None])
        for n, found in windows.items():
            for start in range(len(truths) - n):
                still, held = np.ones(truth.shape), np.ones(truth.shape)
                for offset in range(1, n):
                    still = np.logical_and(still, truths[start] == truths[start + offset])
                    held = np.logical_and(held, guesses[start] == guesses[start + offset])
                with np.errstate(invalid="ignore"):
                    found.append((held * still).sum() / still.sum())
    consistency = {f"vc{n}": float(100 * np.nanmean(found)) for n, found in windows.items()}
    return {**confusion_scores(total), **consistency, "windows": {str(n): f for n, f in windows.items()}}


def detectron2(data: Path) -> dict[str, float]:
    """detectron2/evaluation/sem_seg_evaluation.py without boundaries: int64 maps, void as one class more."""
    side = CLASSES + 1
    total = np.zeros((side, side), np.int64)
    for frames in videos(data):
        for truth_file, guess_file in frames:
            truth, guess = shifted(load(truth_file)).astype(int), load(guess_file).astype(int)
            truth[truth == 255] = CLASSES
            codes = side * guess.reshape(-1) + truth.reshape(-1)
            total += np.bincount(codes, minlength=side**2).reshape(side, side)
    return confusion_scores(total[:-1, :-1].T)


def mmseg(data: Path) -> dict[str, float]:
    """mmseg/evaluation/metrics/iou_metric.py: void masked out, three float histograms of torch a frame."""
    import torch

    torch.set_num_threads(1)
    total = torch.zeros(3, CLASSES, dtype=torch.float64)
    Clock.restart()
    for frames in videos(data):
        for truth_file, guess_file in frames:
            truth = torch.from_numpy(shifted(load(truth_file)).astype(np.int64))
            guess = torch.from_numpy(load(guess_file).astype(np.int64))
            valid = truth != 255
            truth, guess = truth[valid], guess[valid]
            for row, values in enumerate((guess[guess == truth], guess, truth)):
                total[row] += torch.histc(values.float(), bins=CLASSES, min=0, max=CLASSES - 1)
    hit, guessed, true = total.numpy()
    with np.errstate(invalid="ignore"):
        iou = hit / (guessed + true - hit)
    return {"miou": float(100 * np.nanmean(iou)), "pacc": float(100 * hit.sum() / true.sum())}


def torchmetrics(data: Path) -> dict[str, float]:
    """torchmetrics.classification.MulticlassJaccardIndex, the package itself."""
    import torch
    from torchmetrics.classification import MulticlassJaccardIndex

    torch.set_num_threads(1)
    metric = MulticlassJaccardIndex(num_classes=CLASSES, ignore_index=255, average="none")
    Clock.restart()
    for frames in videos(data):
        for truth_file, guess_file in frames:
            truth = torch.from_numpy(shifted(load(truth_file)).astype(np.int64))
            metric.update(torch.from_numpy(load(guess_file).astype(np.int64))[None], truth[None])
    return confusion_scores(metric.confmat.numpy())


def decode_pillow(data: Path) -> dict[str, float]:
    """Nothing but decoding with Pillow."""
    for frames in videos(data):
        for truth_file, guess_file in frames:
            load(truth_file)
            load(guess_file)
    return {}


def decode_ovbench(data: Path) -> dict[str, float]:
    """Nothing but decoding, as ovbench does it here."""
    from ovbench.store.masks import read_mask

    read_mask(next(videos(data))[0][0])
    Clock.restart()
    for frames in videos(data):
        for truth_file, guess_file in frames:
            read_mask(truth_file)
            read_mask(guess_file)
    return {}


PEERS: dict[str, Callable[[Path], dict[str, Any]]] = {
    f.__name__: f for f in (script, detectron2, mmseg, torchmetrics, decode_pillow, decode_ovbench)
}


def main() -> None:
    data, name = Path(sys.argv[1]), sys.argv[2]
    Clock.restart()
    scores = PEERS[name](data)
    spent = time.process_time() - Clock.began
    frames = sum(map(len, videos(data)))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"ms": 1e3 * spent / frames, "mib": memory, "scores": scores}))


if __name__ == "__main__":
    main()
