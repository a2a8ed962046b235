"""Weights made from names: the stand-in for weights that nobody has given us."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import torch
from torch import Tensor, nn


def fill_by_name(module: nn.Module, salt: str = "") -> None:
    """Fill every floating-point parameter and buffer of `module` from its name, in place.

    The same names and shapes give the same numbers on every machine: standard normal x (NumPy's default
    generator, seeded by SHA-256 of name + salt, in float64), then

    - name ends with `logit_scale`: ln(100);
    - name ends with `running_var`: 1 + 0.05 |x|;
    - one-dimensional `.weight` (norms): 1 + 0.02 x;
    - two and more dimensions: x / sqrt(fan-in), fan-in = product of all dimensions but the first;
    - everything else: 0.02 x.

    Integer and boolean buffers stay as they are.
    """
    with torch.no_grad():
        for name, tensor in module.state_dict(keep_vars=True).items():
            if tensor.is_floating_point():
                tensor.copy_(named_values(name, tuple(tensor.shape), salt))


def named_values(name: str, shape: tuple[int, ...], salt: str = "") -> Tensor:
    """The float64 values that `fill_by_name` gives to a tensor of this name and shape.

    Under `torch.device("meta")` nothing is drawn: networks there have names and shapes only.
    """
    if torch.empty(0).is_meta:
        return torch.empty(shape, dtype=torch.float64)
    seed = int.from_bytes(hashlib.sha256((name + salt).encode()).digest()[:8], "big")
    x = np.asarray(np.random.default_rng(seed).standard_normal(shape))
    if name.endswith("logit_scale"):
        x = np.full(shape, math.log(100))
    elif name.endswith("running_var"):
        x = 1 + 0.05 * np.abs(x)
    elif len(shape) == 1 and name.endswith(".weight"):
        x = 1 + 0.02 * x
    elif len(shape) >= 2:
        x /= math.sqrt(math.prod(shape[1:]))  # in place: a second copy of CLIP's table would be 0.2 GB
    else:
        x = 0.02 * x
    return torch.from_numpy(np.asarray(x))
