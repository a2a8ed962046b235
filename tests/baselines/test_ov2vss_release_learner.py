"""The release profile's heads in training, on maps of a real size and random weights."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'models'")

import torch.nn.functional as F  # noqa: E402
from ovbench.baselines.ov2vss.release.head import SEEN, DecodeHead  # noqa: E402
from ovbench.baselines.ov2vss.release.learner import ReleaseLearner  # noqa: E402
from torch import nn  # noqa: E402


@torch.no_grad()
def test_both_heads_are_resized_to_120_before_the_loss() -> None:
    """Official code: the auxiliary logits take the same way to the labels as the main ones, by 120 x 120."""
    torch.manual_seed(0)
    head = DecodeHead(nn.Identity()).eval()
    tokens = torch.randn(1, 512, 24, 24)
    learner = ReleaseLearner.__new__(ReleaseLearner)  # without a backbone and CLIP, which take gigabytes
    learner.module = SimpleNamespace(decode_head=head, clip_tokens=lambda pixels: tokens)  # type: ignore[assignment]
    frames = [[torch.randn(1, 256, 6, 9) for _ in range(4)] for _ in range(4)]
    far, text = head.far(frames[0]), F.normalize(torch.randn(2, 80, 512), dim=-1)
    found = learner._output(far, frames[1:], torch.zeros(1, 3, 96, 144), text)
    assert tuple(found.logits.shape) == (1, 2, 120, 120)
    assert found.auxiliary is not None and tuple(found.auxiliary.shape) == (1, SEEN, 120, 120)
    small = head.auxiliary(head.context(far, *frames[1:]), (6, 9))
    weight = torch.tensor([(y + 0.5) * 6 / 120 - 0.5 for y in range(120)])[60]  # row 60 lies between 2 and 3
    low = int(weight)
    row = small[:, :, low] + (weight - low) * (small[:, :, low + 1] - small[:, :, low])
    expected = F.interpolate(row, 120, mode="linear", align_corners=False)
    torch.testing.assert_close(found.auxiliary[:, :, 60], expected, rtol=1e-4, atol=1e-4)
