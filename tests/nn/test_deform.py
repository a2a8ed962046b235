"""Deformable attention: two ways of gathering, and what a fresh one looks at."""

from __future__ import annotations

import math

import pytest
import torch

from ovbench.nn.deform import DeformAttention, cell_centres, gather_grid, gather_rows

SIZES = [(2, 3), (4, 5), (1, 1)]


def _inputs(batch: int = 2, count: int = 7, heads: int = 3, points: int = 4) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(batch, sum(h * w for h, w in SIZES), heads, 5, generator=generator)
    places = torch.rand(batch, count, heads, len(SIZES), points, 2, generator=generator) * 1.6 - 0.3
    places[0, 0] = torch.tensor([0.0, 1.0])  # corners
    places[0, 1] = 7.0  # far outside
    weights = torch.rand(batch, count, heads, len(SIZES), points, generator=generator)
    return values, places, weights


def test_both_ways_of_gathering_agree() -> None:
    values, places, weights = _inputs()
    expected = gather_grid(values, SIZES, places, weights)
    found = gather_rows(values, SIZES, places, weights)
    assert found.shape == (2, 7, 15)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert not found[0, 1].any()


def test_gradients_agree() -> None:
    inputs = _inputs(batch=1, count=3)
    slopes = []
    for gather in (gather_grid, gather_rows):
        given = [x.clone().requires_grad_() for x in inputs]
        gather(given[0], SIZES, given[1], given[2]).square().sum().backward()
        slopes.append([x.grad for x in given])
    for one, other in zip(*slopes, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_a_sample_by_hand() -> None:
    """Half way between two cells, once, of one map."""
    values = torch.arange(6.0).view(1, 6, 1, 1)
    places = torch.tensor([1.0 / 3, 0.25]).view(1, 1, 1, 1, 1, 2)
    for gather in (gather_grid, gather_rows):
        assert gather(values, [(2, 3)], places, torch.ones(1, 1, 1, 1, 1)).item() == pytest.approx(0.5)


def test_centres() -> None:
    centres = cell_centres([(1, 2), (2, 1)], torch.device("cpu"))
    assert centres.tolist() == [[0.25, 0.5], [0.75, 0.5], [0.5, 0.25], [0.5, 0.75]]


def test_a_fresh_one_looks_around_itself() -> None:
    attention = DeformAttention(16, 2, 4, 3)
    assert not attention.sampling_offsets.weight.any() and not attention.attention_weights.bias.any()
    offsets = attention.sampling_offsets.bias.view(4, 2, 3, 2)
    torch.testing.assert_close(offsets[0, 0, :, 0], torch.tensor([1.0, 2.0, 3.0]))
    assert math.isclose(float(offsets.detach().abs().amax()), 3.0, rel_tol=1e-6)
    torch.testing.assert_close(offsets[:, 0], offsets[:, 1])


def test_ways_agree_within_the_module() -> None:
    torch.manual_seed(0)
    attention = DeformAttention(16, 3, 4, 4)
    cells = sum(h * w for h, w in SIZES)
    x, centres = torch.randn(2, cells, 16), cell_centres(SIZES, torch.device("cpu"))
    with torch.no_grad():
        quick = attention(x, centres, x, SIZES)
    torch.testing.assert_close(attention(x, centres, x, SIZES), quick, atol=1e-5, rtol=1e-5)
