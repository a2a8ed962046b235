"""Frames on their way to the device."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ovbench.core.errors import UserError
from ovbench.nn.frames import upload

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("count", [1, 3])
def test_pixels_are_kept_and_channels_come_first(count: int) -> None:
    frames = [RNG.integers(0, 256, (7, 5, 3), np.uint8) for _ in range(count)]
    for frame in frames:
        frame.setflags(write=False)  # as a video hands them out
    found = upload(frames, "cpu")
    assert found.shape == (count, 3, 7, 5) and found.dtype == torch.float32 and found.is_contiguous()
    for row, frame in zip(found, frames, strict=True):
        np.testing.assert_array_equal(row.numpy(), frame.transpose(2, 0, 1))


def test_the_frame_is_copied() -> None:
    frame = np.zeros((4, 4, 3), np.uint8)
    found = upload([frame], torch.device("cpu"))
    frame[:] = 9
    assert not found.any()


def test_a_cut_out_of_a_larger_picture() -> None:
    picture = RNG.integers(0, 256, (9, 9, 3), np.uint8)
    cut = picture[2:7, ::2]
    np.testing.assert_array_equal(upload([cut], "cpu")[0].numpy(), cut.transpose(2, 0, 1))


def test_one_size_only() -> None:
    with pytest.raises(UserError, match="4x4, 5x4"):
        upload([np.zeros((5, 4, 3), np.uint8), np.zeros((4, 4, 3), np.uint8)], "cpu")
    with pytest.raises(UserError, match="none"):
        upload([], "cpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_too() -> None:
    frames = [RNG.integers(0, 256, (480, 853, 3), np.uint8) for _ in range(8)]
    batches = [upload([frame], "cuda") for frame in frames]  # the pinned blocks are used again and again
    for found, frame in zip(batches, frames, strict=True):
        np.testing.assert_array_equal(found[0].cpu().numpy(), frame.transpose(2, 0, 1))
