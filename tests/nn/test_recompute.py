"""Gradient checkpointing changes memory, not numbers."""

from __future__ import annotations

import copy

import torch
from torch import nn

from ovbench.nn.recompute import recompute


def test_same_output_gradients_and_statistics() -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)),
        nn.Sequential(nn.ReLU(), nn.Conv2d(4, 2, 3)),
    )
    forgetful = copy.deepcopy(plain)
    recompute(forgetful)
    x = torch.randn(2, 3, 9, 9)
    for _ in range(2):  # twice: statistics must have moved once each time
        results = []
        for module in (plain, forgetful):
            module.zero_grad()
            torch.manual_seed(1)
            out = module(x)
            out.square().sum().backward()
            results.append(out)
        assert torch.equal(*results)
        for (name, a), b in zip(plain.named_parameters(), forgetful.parameters(), strict=True):
            assert torch.equal(a.grad, b.grad), name
    for (name, a), b in zip(plain.state_dict().items(), forgetful.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_blocks_are_computed_twice_in_training_only() -> None:
    calls = []

    class Block(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            calls.append(torch.is_grad_enabled())
            return super().forward(x).sin()

    block = Block(2, 2)
    recompute([block])
    block(torch.ones(1, 2)).sum().backward()
    assert len(calls) == 2
    with torch.no_grad():
        block(torch.ones(1, 2))
    assert len(calls) == 3
