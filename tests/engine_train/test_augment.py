"""Variation of clips: image and labels stay together, colours do what they say."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ovbench.core.errors import UserError
from ovbench.engine.augment import MEAN_COLOUR, ClipVariation, Colours, Place
from ovbench.engine.targets import IGNORE

RNG = np.random.default_rng


def _image(height: int = 20, width: int = 30) -> np.ndarray:
    return RNG(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_a_cut_of_the_resized_frame_equals_resizing_and_cutting() -> None:
    image = _image()
    place = Place((20, 30), (37, 55), (6, 9), (16, 24), False)
    whole = F.interpolate(
        torch.from_numpy(image).permute(2, 0, 1)[None].float(), (37, 55), mode="bilinear", align_corners=False
    )
    torch.testing.assert_close(place.image(image), whole[..., 6:22, 9:33], rtol=1e-4, atol=1e-2)
    turned = Place((20, 30), (37, 55), (6, 9), (16, 24), True)
    assert torch.equal(turned.image(image), place.image(image).flip(-1))


def test_labels_follow_the_image() -> None:
    labels = RNG(1).integers(0, 200, (20, 30)).astype(np.uint8)
    same = Place((20, 30), (20, 30), (3, 5), (8, 9), False)
    assert np.array_equal(same.labels(labels), labels[3:11, 5:14])
    twice = Place((20, 30), (40, 60), (0, 0), (40, 60), True)
    assert np.array_equal(twice.labels(labels), labels.repeat(2, 0).repeat(2, 1)[:, ::-1])
    flat = np.stack([labels] * 3, axis=-1)
    assert np.array_equal(same.image(flat)[0, 0].round().numpy(), same.labels(labels))


def test_what_lies_outside_is_mean_coloured_and_not_labelled() -> None:
    place = Place((20, 30), (10, 15), (0, 0), (16, 24), False)
    labels, image = place.labels(np.zeros((20, 30), np.uint8)), place.image(_image(), Colours(brightness=9))
    assert (
        (labels[:10, :15] == 0).all() and (labels[10:] == IGNORE).all() and (labels[:, 15:] == IGNORE).all()
    )
    assert torch.allclose(image[0, :, 12, 20], torch.tensor(MEAN_COLOUR))


def test_cuts_of_a_single_class_are_drawn_again() -> None:
    labels = np.zeros((100, 100), np.uint8)
    labels[:, 80:] = 1
    kept = ClipVariation(size=(100, 100), ratios=(1.0, 1.0), crop=(30, 30))
    shares = [
        np.bincount(kept.place(RNG(i), labels).labels(labels).ravel(), minlength=2)[1] / 900
        for i in range(60)
    ]
    inside = [0.25 < s < 0.75 for s in shares]
    free = ClipVariation(size=(100, 100), ratios=(1.0, 1.0), crop=(30, 30), cap=1.1)
    others = [
        np.bincount(free.place(RNG(i), labels).labels(labels).ravel(), minlength=2)[1] / 900
        for i in range(60)
    ]
    assert np.mean(inside) > 0.75 > np.mean([0.25 < s < 0.75 for s in others])
    unlabelled = np.full((100, 100), IGNORE, np.uint8)
    assert kept.place(RNG(0), unlabelled).labels(unlabelled).shape == (30, 30)


def test_scales_keep_the_ratio_and_stay_in_their_range() -> None:
    variation = ClipVariation()
    sizes = [variation.place(RNG(i), np.zeros((480, 853), np.uint8)).resized for i in range(40)]
    assert all(abs(w / h - 853 / 480) < 0.01 and 511 <= w <= 2049 for h, w in sizes)
    assert min(w for _, w in sizes) < 800 and max(w for _, w in sizes) > 1700


def test_colours_that_change_nothing_and_colours_by_hand() -> None:
    pixels = torch.from_numpy(RNG(2).uniform(0, 255, (1, 3, 4, 5))).float()
    assert torch.equal(Colours()(pixels), pixels)
    torch.testing.assert_close(Colours(hue=360.0)(pixels), pixels, rtol=1e-4, atol=1e-2)
    assert torch.allclose(Colours(brightness=-300)(pixels), torch.zeros(1))
    early, late = Colours(20, 1.4, 0.5, 0)(pixels), Colours(20, 1.4, 0.5, 0, late=True)(pixels)
    assert early.shape == late.shape and not torch.equal(early, late)
    changed = Colours(saturation=1.3, hue=25.0)(pixels)[0].flatten(1).T / 255
    for before, after in zip(pixels[0].flatten(1).T / 255, changed, strict=True):
        h, s, v = colorsys.rgb_to_hsv(*before.tolist())
        expected = colorsys.hsv_to_rgb((h + 25 / 360) % 1, min(1.0, s * 1.3), v)
        assert after.tolist() == pytest.approx(expected, abs=1e-4)


def test_colours_are_drawn_within_their_limits() -> None:
    drawn = [Colours.draw(RNG(i)) for i in range(200)]
    assert all(abs(c.brightness) <= 32 and 0.5 <= c.contrast <= 1.5 and abs(c.hue) <= 36 for c in drawn)
    assert 0.3 < np.mean([c.brightness == 0 for c in drawn]) < 0.7 and {c.late for c in drawn} == {
        True,
        False,
    }


def test_sizes_that_do_not_parse_are_named() -> None:
    options = {"augment": "full", "train_size": "1024x1024", "train_crop": "big"}
    with pytest.raises(UserError, match="train_crop must look like 480x480"):
        ClipVariation.from_options(options)
    assert ClipVariation.from_options({**options, "augment": "none"}) is None
