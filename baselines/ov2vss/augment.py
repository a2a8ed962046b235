"""Clips made of one frame, for training splits whose labelled frames lie seconds apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ovbench.engine.targets import IGNORE

_AGES = (9, 6, 3, 0)


@dataclass(frozen=True)
class Camera:
    """An imagined camera that drifts over a photograph while a clip is taken."""

    zoom: float
    shift: NDArray[np.float64]
    drift: NDArray[np.float64]
    growth: float
    flip: bool
    gain: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Camera:
        """A random one."""
        zoom, shift = float(rng.uniform(0.75, 1.0)), rng.uniform(-1, 1, 2) * 0.2
        drift, growth = rng.uniform(-1, 1, 2) * 0.012, float(rng.uniform(-0.008, 0.012))
        flip = bool(rng.integers(2))
        return cls(zoom, shift, drift, growth, flip, float(rng.uniform(0.7, 1.3)))

    def clip(self, image: Tensor) -> list[Tensor]:
        """(1, 3, H, W) 0..255 -> the four frames of a clip, oldest first."""
        return [self._view(image, age) * self.gain for age in _AGES]

    def labels(self, mask: NDArray[np.uint8], device: torch.device) -> NDArray[np.uint8]:
        """(H, W) labels as the last frame shows them; `IGNORE` outside the photograph."""
        labels = torch.from_numpy(mask)[None, None].float().to(device)
        seen = self._view(labels + 1, 0, nearest=True).round()[0, 0].cpu().numpy()
        out: NDArray[np.uint8] = np.where(seen < 1, IGNORE, seen - 1).astype(np.uint8)
        return out

    def _view(self, image: Tensor, age: int, nearest: bool = False) -> Tensor:
        """What it saw `age` frames ago of an image (1, C, H, W); 0 outside."""
        zoom, shift = self.zoom * (1 - self.growth * age), self.shift + self.drift * age
        rows = [[-zoom if self.flip else zoom, 0.0, float(shift[0])], [0.0, zoom, float(shift[1])]]
        theta = torch.tensor([rows], dtype=image.dtype, device=image.device)
        grid = F.affine_grid(theta, list(image.shape), align_corners=False)
        return F.grid_sample(image, grid, mode="nearest" if nearest else "bilinear", align_corners=False)
