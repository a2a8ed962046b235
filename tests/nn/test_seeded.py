"""The rule for weights made from names."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import torch
from torch import nn

from ovbench.nn.seeded import fill_by_name, named_values


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 2)
        self.norm = nn.BatchNorm2d(4)
        self.logit_scale = nn.Parameter(torch.zeros([]))


def _normal(name: str, shape: tuple[int, ...], salt: str = "") -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256((name + salt).encode()).digest()[:8], "big")
    return np.random.default_rng(seed).standard_normal(shape)


def test_every_rule() -> None:
    net = _Net()
    fill_by_name(net)
    state = {k: v.double().numpy() for k, v in net.state_dict().items()}
    expected = {
        "conv.weight": _normal("conv.weight", (4, 3, 2, 2)) / math.sqrt(12),
        "conv.bias": 0.02 * _normal("conv.bias", (4,)),
        "norm.weight": 1 + 0.02 * _normal("norm.weight", (4,)),
        "norm.running_mean": 0.02 * _normal("norm.running_mean", (4,)),
        "norm.running_var": 1 + 0.05 * np.abs(_normal("norm.running_var", (4,))),
        "logit_scale": np.asarray(math.log(100)),
    }
    for name, values in expected.items():
        np.testing.assert_array_equal(state[name], values.astype(np.float32), err_msg=name)
    assert int(state["norm.num_batches_tracked"]) == 0


def test_salt_and_name_decide() -> None:
    a = named_values("x.weight", (5, 5))
    assert torch.equal(a, named_values("x.weight", (5, 5)))
    assert not torch.equal(a, named_values("x.weight", (5, 5), "#1"))
    salted = _normal("x.weight", (5, 5), "#1") / math.sqrt(5)
    np.testing.assert_array_equal(named_values("x.weight", (5, 5), "#1"), salted)
