"""Whole frames beside plain versions that take one region, one class, one query after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mask_methods import METHODS, picture, small

from ovbench.protocol.vocabulary import Vocabulary

SIZE = (70, 100)
DRAWINGS = ("own", "empty", "one", "thin")


def draw(segmenter: Any, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the network draw masks that are all empty, all but one empty, or one row of pixels."""
    if kind == "own":
        return
    fixed = torch.full((segmenter.network.config.queries, 48, 64), -9.0)
    if kind == "one":
        fixed[3, 4:20, 6:40] = 9.0
    elif kind == "thin":
        fixed[5, 10, 3:30] = 3.0
    predictor = segmenter.network.net.predictor
    monkeypatch.setattr(predictor, "masks", lambda held, _: fixed.expand(*held.shape[:2], -1, -1, -1))


def padded(pixels: torch.Tensor, mean: Any, std: Any) -> torch.Tensor:
    """(H, W, 3) 0..255 -> (3, 96, 128), zeros where there was nothing."""
    out = torch.zeros(3, 96, 128)
    for channel in range(3):
        out[channel, : SIZE[0], : SIZE[1]] = (pixels[..., channel] - mean[channel]) / std[channel]
    return out


IMAGENET = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))


def statistics(clip: Any) -> tuple[list[float], list[float]]:
    return [255 * m for m in clip.mean], [255 * s for s in clip.std]


def sampled(image: torch.Tensor, box: list[float], size: tuple[int, int]) -> torch.Tensor:
    """roi_align by its definition: every cell is the mean of a grid of bilinear samples."""
    axes = []
    for start, end, bins in ((box[1], box[3], size[0]), (box[0], box[2], size[1])):
        width = (end - start) / bins
        count = int(np.ceil(width))
        axes.append(
            [start - 0.5 + (b + (i + 0.5) / count) * width for b in range(bins) for i in range(count)]
        )
    ys, xs = (torch.tensor(a, dtype=torch.float64) for a in axes)
    height, width = image.shape[1:]
    values = torch.zeros(3, len(ys), len(xs), dtype=torch.float64)
    y0, x0 = ys.clamp(0, height - 1).floor().long(), xs.clamp(0, width - 1).floor().long()
    y1, x1 = (y0 + 1).clamp(max=height - 1), (x0 + 1).clamp(max=width - 1)
    fy, fx = ys.clamp(0, height - 1) - y0, xs.clamp(0, width - 1) - x0
    for rows, wy in ((y0, 1 - fy), (y1, fy)):
        for columns, wx in ((x0, 1 - fx), (x1, fx)):
            values += image[:, rows][:, :, columns] * wy[:, None] * wx
    return F.adaptive_avg_pool2d(values, size).float()


def look(clip: Any, crop: torch.Tensor) -> torch.Tensor:
    """A unit vector of one crop."""
    return F.normalize(clip.model.encode_image(crop[None])[0], dim=0)


def zegformer(segmenter: Any, image: np.ndarray) -> torch.Tensor:
    network, config = segmenter.network, segmenter.network.config
    pixels = torch.from_numpy(image).float()
    found = network.net(padded(pixels, *IMAGENET)[None], segmenter.text)
    logits, masks = found.logits[-1, 0], F.interpolate(found.masks[-1], (96, 128), mode="bilinear")[0]
    shown = padded(pixels, *statistics(network.clip))
    scale = network.clip.model.logit_scale.exp()
    names, seen = range(len(segmenter.vocabulary)), segmenter.seen.tolist()
    out = torch.zeros(len(names), 96, 128)
    for q in range(config.queries):
        mask = masks[q].sigmoid() > 0.5
        head = logits[q].softmax(0)
        rows, columns = mask.any(1).nonzero()[:, 0].tolist(), mask.any(0).nonzero()[:, 0].tolist()
        flat = not rows or rows[0] == rows[-1] or columns[0] == columns[-1]
        box = [0, 0, 128, 96] if flat else [columns[0], rows[0], columns[-1], rows[-1]]
        if config.style == "mask":
            small_masks = F.interpolate(masks[q][None, None], (96, 160), mode="bilinear")[0, 0]
            crop = F.interpolate(shown[None], (96, 160), mode="bilinear")[0] * (small_masks.sigmoid() > 0.5)
        else:
            crop = sampled(shown if config.style == "crop" else shown * mask, box, (96, 160))
        asked = torch.cat([scale * segmenter.region_text @ look(network.clip, crop), logits[q, -1:]])
        clip = asked.softmax(0)
        shared = [float(clip[k]) for k in names if seen[k]]
        for k in names:
            mean = sum(shared) / len(shared) if seen[k] and config.ensemble == "seen" else clip[k]
            power = 2 / 3 if seen[k] and config.ensemble == "seen" else 1 / 3
            weight = clip[k] if config.ensemble == "clip" else head[k] ** power * mean ** (1 - power)
            out[k] += weight * masks[q].sigmoid()
    out = F.interpolate(out[None, :, : SIZE[0], : SIZE[1]], SIZE, mode="bilinear")[0]
    return out - config.calibration * torch.tensor(seen).float()[:, None, None]


def zsseg(segmenter: Any, image: np.ndarray, aligned: bool = False) -> torch.Tensor:
    network, config = segmenter.network, segmenter.network.config
    pixels = torch.from_numpy(image).float()
    found = network.net(padded(pixels, *IMAGENET)[None], segmenter.text)
    large = F.interpolate(found.masks[-1], (96, 128), mode="bilinear", align_corners=aligned)
    masks = large[0, :, : SIZE[0], : SIZE[1]].sigmoid()
    mean, std = (torch.tensor(v) for v in statistics(network.clip))
    seen = segmenter.seen.tolist()
    out = torch.zeros(len(seen), *SIZE)
    for q in range(config.queries):
        query = found.logits[-1, 0, q].softmax(0)
        mask = masks[q] > config.mask_threshold
        region = torch.ones(len(seen))
        if mask.any():
            rows, columns = mask.any(1).nonzero()[:, 0].tolist(), mask.any(0).nonzero()[:, 0].tolist()
            part = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
            crop = torch.where(mask[part][..., None], pixels[part], mean)
            crop = ((crop - mean) / std).permute(2, 0, 1)
            crop = F.interpolate(crop[None], (96, 160), mode="bicubic", align_corners=aligned)[0]
            region = (100 * segmenter.region_text @ look(network.clip, crop)).softmax(0)
        for k, trained in enumerate(seen):
            w = config.ensemble_weight if trained else 1 - config.ensemble_weight
            out[k] += query[k] ** w * region[k] ** (1 - w) * masks[q]
    return out


def deop(segmenter: Any, image: np.ndarray) -> torch.Tensor:
    network = segmenter.network
    pixels = torch.from_numpy(image).float()
    shown = padded(pixels, *statistics(network.clip))[None]
    found = network.net(padded(pixels, *IMAGENET)[None], shown, segmenter.text).final
    masks = F.interpolate(found.masks[-1], (96, 128), mode="bilinear")[0, :, : SIZE[0], : SIZE[1]].sigmoid()
    out = torch.zeros(len(segmenter.vocabulary), *SIZE)
    for q in range(len(masks)):
        probs = found.logits[-1, 0, q].softmax(0)
        for k in range(len(out)):
            out[k] += probs[k] * masks[q]
    return out


def freeseg(segmenter: Any, image: np.ndarray) -> torch.Tensor:
    """Like zsseg, with corners aligned."""
    return zsseg(segmenter, image, aligned=True)


PLAIN = {"zegformer": zegformer, "zsseg": zsseg, "deop": deop, "freeseg": freeseg}
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "zegformer": [
        {"style": "cropmask"},
        {"style": "crop", "ensemble": "all"},
        {"style": "mask", "ensemble": "clip"},
        {"style": "cropmask", "depth": 50, "blocks": "", "stem_width": 8},
    ],
    "zsseg": [
        {"region_look": "crop"},
        {"region_look": "crop", "ensemble_weight": 0.3, "mask_threshold": 0.45},
    ],
    "deop": [{}, {"severance": False}],
    "freeseg": [{"region_look": "crop"}],
}
CASES = [(m, changes, drawing) for m in METHODS for changes in OPTIONS[m] for drawing in DRAWINGS]


@torch.inference_mode()
@pytest.mark.parametrize(("method", "changes", "drawing"), CASES)
def test_as_the_plain_version(
    method: str, changes: dict[str, Any], drawing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    segmenter = small(method, queries=8, **changes)
    segmenter.prepare(Vocabulary(["road", "tall tree", "car"], seen=[True, False, True]))
    draw(segmenter, drawing, monkeypatch)
    image = picture(*SIZE)
    ours, plain = segmenter.scores(image), PLAIN[method](segmenter, image).numpy()
    assert ours.shape == plain.shape and np.isfinite(ours).all()
    np.testing.assert_allclose(ours, plain, atol=2e-4 * max(np.abs(plain).max(), 1e-6))


@torch.inference_mode()
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("count", [1, 300])
@pytest.mark.parametrize("drawing", ["own", "empty"])
def test_vocabularies_of_any_size(
    method: str, count: int, drawing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    crop = {"region_look": "crop"}
    look = {"zegformer": {"style": "cropmask"}, "zsseg": crop, "deop": {}, "freeseg": crop}[method]
    segmenter = small(method, queries=4, **look)
    segmenter.prepare(Vocabulary([f"thing {n}" for n in range(count)]))
    draw(segmenter, drawing, monkeypatch)
    image = picture(*SIZE)
    scores, labels = segmenter.scores(image), segmenter.segment_frame(image)
    np.testing.assert_allclose(scores, PLAIN[method](segmenter, image).numpy(), atol=2e-4)
    assert scores.shape == (count, *SIZE) and np.array_equal(labels, scores.argmax(0))
    assert labels.dtype == (np.uint8 if count == 1 else np.uint16)
