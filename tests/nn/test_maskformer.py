"""Sizes, padding, and the way back from the padded input to the frame."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ovbench.nn.maskformer import (
    combine,
    combine_enlarged,
    enlarge,
    pad,
    postprocess,
    resize_shortest,
    resized_shape,
)


@pytest.mark.parametrize(
    ("size", "short", "longest", "expected"),
    [
        ((480, 640), 640, 2560, (640, 853)),
        ((480, 640), 512, 2048, (512, 683)),
        ((640, 480), 512, 2048, (683, 512)),
        ((100, 1000), 512, 2048, (205, 2048)),
        ((512, 512), 512, 2048, (512, 512)),
        ((1, 6000), 640, 2560, (1, 2560)),
        ((6000, 1), 640, 2560, (2560, 1)),
    ],
)
def test_resized_shape(size: tuple[int, int], short: int, longest: int, expected: tuple[int, int]) -> None:
    assert resized_shape(*size, short, longest) == expected


def test_resizing_keeps_type_and_may_do_nothing() -> None:
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    assert resize_shortest(image, 15, 100).shape == (15, 20, 3)
    assert resize_shortest(image, 0, 0) is image


def test_padding_is_zero_at_the_bottom_and_right() -> None:
    x = pad(torch.ones(1, 3, 33, 64))
    assert x.shape == (1, 3, 64, 64)
    assert x.sum() == 3 * 33 * 64 and x[0, 0, 32, 63] == 1 and x[0, 0, 33, 0] == 0


def test_combine_and_cut() -> None:
    probs, masks = torch.rand(5, 3), torch.randn(5, 8, 6)
    scores = combine(probs, masks)
    torch.testing.assert_close(scores, torch.einsum("qk,qhw->khw", probs, masks.sigmoid()))
    assert torch.equal(postprocess(scores, (7, 5), (7, 5)), scores[:, :7, :5])
    assert postprocess(scores, (7, 5), (14, 9)).shape == (3, 14, 9)


@pytest.mark.parametrize("queries", [1, 3, 20])
def test_enlarging_a_few_queries_at_a_time_changes_nothing(queries: int) -> None:
    draw = torch.Generator().manual_seed(0)
    probs, masks = torch.rand(7, 4, generator=draw), torch.randn(7, 8, 16, generator=draw)
    whole = combine(probs, enlarge(masks[None], (32, 64))[0, :, :30, :50])
    torch.testing.assert_close(combine_enlarged(probs, masks, (32, 64), (30, 50), queries), whole)
