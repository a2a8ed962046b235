"""Contrastive pre-training of the world's two-tower model, from nothing.

An image and a phrase match when some place in the image matches: the score is a soft maximum of local
cosines. Every step compares 96 crops with all 207 phrases, so that phrases which differ in one word are
always among the negatives. No mask is a target; masks only say which phrases are true of a crop.
"""

from __future__ import annotations

import json
import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ovbench.core.errors import UserError
from ovbench.datasets.world.classes import pretraining_classes
from ovbench.methods.base import Setup
from ovbench.nn.world_clip import MEAN, STD, WordTokenizer, build_world_clip, load_words
from ovbench.protocol.templates import load_templates

from .scenes import load_stills

PHRASES = load_templates("world")
CELLS = 6  # a crop is 6 x 6 cells of 8 pixels
SHARPNESS = 10.0


class Pretraining:
    """The task: its batches are a pure function of (seed, step)."""

    clip_norm = 1.0
    half = True

    def __init__(
        self, seed: int, steps: int = 4000, scenes: int = 6000, batch: int = 96, rate: float = 2e-3
    ) -> None:
        torch.manual_seed(seed)
        self.seed, self.steps, self.batch, self.rate = seed, steps, batch, rate
        self.module = build_world_clip()
        self.tokenizer = WordTokenizer(load_words(), self.module.context_length)
        self.stills = load_stills(scenes)
        self.classes = pretraining_classes()
        ids = np.asarray([c.raw_id for c in self.classes])
        self.column = np.full(256, -1)
        self.column[ids] = np.arange(len(ids))
        stuff = np.asarray([c.is_stuff for c in self.classes])
        self.least = np.where(stuff, 0.10, 0.06) * (CELLS * 8) ** 2

    def optimizer(self) -> torch.optim.Optimizer:
        """AdamW; weight decay on matrices only."""
        params = list(self.module.parameters())
        groups = [
            {"params": [p for p in params if p.ndim >= 2], "weight_decay": 0.03},
            {"params": [p for p in params if p.ndim < 2], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=self.rate, betas=(0.9, 0.98))

    def learning_rate(self, step: int) -> float:
        """Warm-up over 100 steps, then half a cosine down to zero."""
        return min(1.0, (step + 1) / 100) * (0.5 + 0.5 * math.cos(math.pi * step / self.steps))

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """Contrastive loss of one batch, image to phrases and phrases to images."""
        rng = np.random.default_rng([self.seed, step])
        images, true, corners = self._batch(rng)
        template = PHRASES[rng.integers(len(PHRASES))]
        tokens = self.tokenizer([template.format(c.name) for c in self.classes])
        self.module.train()
        text = self.module.encode_text(tokens, normalize=True)
        local = F.normalize(crop_tokens(self.module.visual, images, corners), dim=-1)
        cosine = torch.einsum("bne,ke->bkn", local, text) * SHARPNESS
        score = (torch.logsumexp(cosine, -1) - math.log(cosine.shape[-1])) / SHARPNESS
        score = score * self.module.logit_scale.exp().clamp(max=60)
        loss = (_contrast(score, true, 1) + _contrast(score, true, 0)) / 2
        return loss, {"scale": float(self.module.logit_scale.detach().exp())}

    def _batch(self, rng: np.random.Generator) -> tuple[Tensor, Tensor, NDArray[np.int64]]:
        rows, columns = self.stills.shape[1] // 8, self.stills.shape[2] // 8
        picked = rng.integers(len(self.stills), size=self.batch)
        corners = np.stack(
            [rng.integers(0, rows - CELLS + 1, self.batch), rng.integers(0, columns - CELLS + 1, self.batch)],
            axis=1,
        )
        size = CELLS * 8
        places = zip(picked, corners * 8, strict=True)
        crops = np.stack([self.stills[i, y : y + size, x : x + size] for i, (y, x) in places])
        area = np.stack(
            [np.bincount(self.column[c[..., 3]].ravel(), minlength=len(self.classes)) for c in crops]
        )
        true = area > self.least
        true[np.arange(self.batch), area.argmax(1)] = True
        pixels = torch.from_numpy(crops[..., :3]).permute(0, 3, 1, 2).float() / 255
        mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
        return (pixels - mean) / std, torch.from_numpy(true), corners

    def metadata(self) -> dict[str, str]:
        """Header of the weights file."""
        options = {"steps": self.steps, "batch": self.batch, "scenes": len(self.stills), "rate": self.rate}
        return {
            "method": "world-clip",
            "variant": "world",
            "seed": str(self.seed),
            "options": json.dumps(options),
        }


def crop_tokens(visual: nn.Module, images: Tensor, corners: NDArray[np.int64]) -> Tensor:
    """Projected tokens of crops, each with its own slice of the position table.

    Args:
        images: (B, 3, 8c, 8c) normalised crops whose corners lie on the 8-pixel grid.
        corners: (B, 2) row and column of each crop's first cell.

    Returns:
        (B, c * c, E), not normalised.
    """
    features = visual.conv1(images)  # type: ignore[operator]
    b, d, h, w = features.shape
    rows, columns = visual.grid_size  # type: ignore[misc]
    table = visual.positional_embedding
    grid = table[1:].view(rows, columns, d)  # type: ignore[index]
    places = torch.stack([grid[y : y + h, x : x + w].reshape(-1, d) for y, x in corners.tolist()])
    start = (visual.class_embedding + table[0]).expand(b, 1, d)  # type: ignore[operator, index]
    x = torch.cat([start, features.flatten(2).transpose(1, 2) + places], dim=1)
    x = visual.transformer(visual.ln_pre(x))  # type: ignore[operator]
    return visual.ln_post(x[:, 1:]) @ visual.proj  # type: ignore[operator, no-any-return]


def _contrast(score: Tensor, true: Tensor, dim: int) -> Tensor:
    # Several phrases can be true of a crop: each is compared with the false ones only.
    false = torch.logsumexp(score.masked_fill(true, -1e4), dim, keepdim=True)
    return (F.softplus(false - score) * true).sum() / true.sum()


def build(setup: Setup, seed: int, steps: int | None) -> Pretraining:
    """Trainer entry point: `ovbench train --method maskclip --protocol world-27-9`."""
    here = setup.protocol is None or setup.protocol.dataset.name == "world"
    if not here or setup.variant != "world":
        where = "" if setup.protocol is None else f" on '{setup.protocol.id}'"
        raise UserError(
            f"no captions are at hand to pre-train variant '{setup.variant}'{where}",
            hint="only the embedded world can be pre-trained from nothing; elsewhere give --weights",
        )
    return Pretraining(seed, steps or 4000)
