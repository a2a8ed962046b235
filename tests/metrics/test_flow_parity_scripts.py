"""The released scripts' TC, against a direct statement of what they do in torch."""

from __future__ import annotations

import numpy as np
import pytest

from ovbench.core.errors import UserError
from ovbench.metrics.flow_parity import etc_tc, etc_warp, vspw_tc, vspw_warp

torch = pytest.importorskip("torch")
CLASSES = 6


def torch_vspw_warp(labels, flow):
    height, width = labels.shape
    x, y = torch.arange(width).float(), torch.arange(height).float()
    place = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1) + torch.from_numpy(flow)
    place[..., 0] = 2.0 * place[..., 0] / max(width - 1, 1) - 1.0
    place[..., 1] = 2.0 * place[..., 1] / max(height - 1, 1) - 1.0
    picture = torch.from_numpy(labels)[None, None].float()
    out = torch.nn.functional.grid_sample(picture, place[None], mode="nearest", align_corners=False)
    return out[0, 0].int().numpy()


def torch_etc_warp(labels, flow):
    """Border-repeating bilinear sampling; exact where sides are 2**k + 1 and flows multiples of 1/8."""
    height, width = labels.shape
    x, y = torch.arange(width).float(), torch.arange(height).float()
    place = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1) + torch.from_numpy(flow)
    grid = 2 * place / torch.tensor([width - 1.0, height - 1.0]) - 1
    picture = torch.from_numpy(labels)[None, None].float()
    out = torch.nn.functional.grid_sample(
        picture, grid[None], mode="bilinear", padding_mode="border", align_corners=True
    )
    return out[0, 0].numpy().astype(np.uint8)


def script_vspw(steps):
    """One confusion matrix; rows are the predictions of frames t."""
    table = np.zeros((CLASSES, CLASSES))
    for first, second, flow in steps:
        np.add.at(table, (first, torch_vspw_warp(second, flow)), 1)
    rows = table.sum(1)
    ious = [table[c, c] / (rows[c] + table[:, c].sum() - table[c, c]) for c in range(CLASSES) if rows[c]]
    return sum(ious) / len(ious)


def script_etc(steps):
    hit, union = np.zeros(CLASSES), np.zeros(CLASSES)
    for first, second, flow in steps:
        warped = torch_etc_warp(second, flow)
        for c in range(CLASSES):
            hit[c] += ((first == c) & (warped == c)).sum()
            union[c] += ((first == c) | (warped == c)).sum()
    return np.mean(hit / (union + 1e-10))


def random_steps(seed, shape, count=3, grain=None):
    rng = np.random.default_rng(seed)
    steps = []
    for _ in range(count):
        coarse = rng.integers(0, CLASSES - 1, (2, -(-shape[0] // 4), -(-shape[1] // 4))).astype(np.uint8)
        first, second = coarse.repeat(4, 1).repeat(4, 2)[:, : shape[0], : shape[1]]
        flow = rng.normal(0, 3, (*shape, 2)).astype(np.float32)
        if grain:
            flow = (np.round(flow * grain) / grain).astype(np.float32)
        steps.append((first.copy(), second.copy(), flow))
    return steps


@pytest.mark.parametrize("shape", [(13, 17), (24, 40), (48, 85), (1, 6), (7, 1)])
@pytest.mark.parametrize("seed", range(6))
def test_vspw_is_the_script(shape, seed):
    steps = random_steps(seed, shape)
    for _, labels, flow in steps:
        assert np.array_equal(vspw_warp(labels, flow), torch_vspw_warp(labels, flow))
    assert vspw_tc(steps, CLASSES) == pytest.approx(script_vspw(steps), abs=1e-12)


@pytest.mark.parametrize("shape", [(17, 33), (33, 17), (65, 9)])
@pytest.mark.parametrize("seed", range(6))
def test_etc_is_the_script(shape, seed):
    steps = random_steps(seed, shape, grain=8)
    for _, labels, flow in steps:
        assert np.array_equal(etc_warp(labels, flow), torch_etc_warp(labels, flow))
    assert etc_tc(steps, CLASSES) == pytest.approx(script_etc(steps), abs=1e-12)


def test_vspw_loses_the_last_column_of_an_even_width_where_nothing_moves():
    labels = np.full((3, 4), 2, np.uint8)
    still = np.zeros((3, 4, 2), np.float32)
    assert vspw_warp(labels, still).tolist() == [[2, 2, 2, 0]] * 3
    assert vspw_tc([(labels, labels, still)], 3) == pytest.approx(9 / 12)
    zero = np.zeros_like(labels)
    assert vspw_tc([(zero, zero, still)], 3) == 1  # a constant of class 0 is safe


def test_etc_invents_a_class_between_two_and_counts_absent_ones():
    labels = np.array([[0, 4, 4]], np.uint8)
    flow = np.zeros((1, 3, 2), np.float32)
    flow[..., 0] = 0.5
    assert etc_warp(labels, flow).tolist() == [[2, 4, 4]]
    still = np.zeros_like(flow)
    assert etc_tc([(labels, labels, still)], 5) == pytest.approx(2 / 5)


def test_what_the_scripts_do_not_know_is_refused():
    labels = np.zeros((2, 2), np.uint8)
    flow = np.zeros((2, 2, 2), np.float32)
    with pytest.raises(UserError, match="255"):
        vspw_tc([(labels, labels + 255, flow)], 3)
    with pytest.raises(UserError, match="size"):
        etc_tc([(labels, labels, flow[:1])], 3)
    with pytest.raises(UserError, match="finite"):
        etc_tc([(labels, labels, flow + np.nan)], 3)
    assert vspw_tc([], 3) is None and etc_tc([], 3) is None
