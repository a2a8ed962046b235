"""Boxes, crops, and the promise that no crop is encoded twice."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ovbench.nn.regions import encode_crops, masked_crop, roi_align, tight_boxes


def test_tight_boxes() -> None:
    masks = torch.zeros(4, 6, 9, dtype=torch.bool)
    masks[1, 2, 3] = True
    masks[2, 1:4, 2] = masks[2, 5, 8] = True
    masks[3] = True
    boxes, valid = tight_boxes(masks)
    assert boxes.tolist() == [[0, 0, 0, 0], [3, 2, 4, 3], [2, 1, 9, 6], [0, 0, 9, 6]]
    assert valid.tolist() == [False, True, True, True]


@pytest.mark.parametrize(
    "box",
    [
        (0, 0, 63, 47),
        (0, 0, 64, 48),
        (5, 7, 8, 40),
        (10, 3, 61, 5),
        (20.5, 11.25, 21.0, 30.75),
        (-3, -2, 70, 55),
        (62, 46, 63, 47),
    ],
)
@pytest.mark.parametrize("size", [(24, 24), (7, 13)])
def test_roi_align_is_torchvisions(box: tuple[float, ...], size: tuple[int, int]) -> None:
    ops = pytest.importorskip("torchvision.ops")
    image = torch.randn(3, 48, 64, generator=torch.Generator().manual_seed(0))
    expected = ops.roi_align(image[None], [torch.tensor([box], dtype=torch.float32)], size, aligned=True)[0]
    torch.testing.assert_close(roi_align(image, box, size), expected, atol=1e-5, rtol=1e-5)


def test_roi_align_of_a_constant_is_constant() -> None:
    crop = roi_align(torch.full((2, 20, 30), 3.0), (4, 5, 25, 19), (8, 8))
    torch.testing.assert_close(crop, torch.full((2, 8, 8), 3.0))


@pytest.mark.parametrize("align_corners", [False, True])
def test_masked_crop_paints_and_resizes(align_corners: bool) -> None:
    image = torch.rand(3, 12, 16) * 255
    mask = torch.rand(12, 16) > 0.5
    colour = torch.tensor([10.0, 20.0, 30.0])
    crop = masked_crop(image, mask, (2, 3, 11, 9), (14, 14), colour, align_corners=align_corners)
    painted = image * mask + colour.view(3, 1, 1) * ~mask
    expected = F.interpolate(
        painted[None, :, 3:9, 2:11], (14, 14), mode="bicubic", align_corners=align_corners
    )
    torch.testing.assert_close(crop, expected[0])
    whole = masked_crop(image, None, (0, 0, 16, 12), (12, 16))
    torch.testing.assert_close(whole, image, atol=1e-3, rtol=1e-5)


def test_equal_crops_are_made_and_encoded_once() -> None:
    made: list[int] = []
    batches: list[int] = []

    def crop(i: int) -> torch.Tensor:
        made.append(i)
        return torch.full((1, 2, 2), float(i))

    def encode(x: torch.Tensor) -> torch.Tensor:
        batches.append(len(x))
        return x.flatten(1)[:, :1]

    keys = ["empty", 1, 2, "empty", 4, "empty", 6]
    out = encode_crops(crop, keys, encode, batch=3)
    assert out[:, 0].tolist() == [0, 1, 2, 0, 4, 0, 6]
    assert made == [0, 1, 2, 4, 6] and batches == [3, 2]
