"""Where video meets text: refined text, carried image evidence, the cost volume and its decoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import Config


class VideoTextEncoding(nn.Module):
    """Text that has looked at the clip: cross-attention to all frames' CLIP tokens, then a feed-forward layer.

    OV2VSS, section III-D. Each (class, template) vector asks for itself, so a class's text does not depend on
    which other names stand in the vocabulary.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        width = config.text_width
        self.norm_video = nn.LayerNorm(width)
        self.norm_text = nn.LayerNorm(width)
        self.norm_hidden = nn.LayerNorm(width) if config.ffn else None
        self.attention = nn.MultiheadAttention(width, config.heads, bias=False, batch_first=True)
        self.feed_forward: nn.Module | None = None
        if config.ffn:
            self.feed_forward = nn.Sequential(
                nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
            )
        self.alpha = nn.Parameter(torch.full((width,), 1e-4))

    def forward(self, text: Tensor, video: Tensor) -> Tensor:
        """Text (K, P, E) and CLIP tokens of the clip (B, n, E) -> (B, K, P, E)."""
        b = video.shape[0]
        queries = text.flatten(0, 1).expand(b, -1, -1)
        video = self.norm_video(video)
        hidden = queries + self.attention(self.norm_text(queries), video, video, need_weights=False)[0]
        if self.feed_forward is not None and self.norm_hidden is not None:
            hidden = hidden + self.feed_forward(self.norm_hidden(hidden))
        return (queries + self.alpha * hidden).view(b, *text.shape)


class Carry(nn.Module):
    """Brings the CLIP features of earlier frames to the target's places.

    The paper computes the cost volume from "the video"; how earlier frames enter it is left open, and the
    released code uses the target alone. Here every place of the target mixes the CLIP features of all frames
    by an attention on the backbone's features and the fused context, with a learned preference for nearby
    places. The mixture is convex, so it stays in CLIP's space and any name can still be asked for.
    """

    def __init__(self, config: Config, frames: int = 4) -> None:
        super().__init__()
        self.heads = config.heads
        self.query = nn.Linear(2 * config.width, config.width)
        self.key = nn.Linear(config.width, config.width)
        self.norm_query = nn.LayerNorm(2 * config.width)
        self.norm_key = nn.LayerNorm(config.width)
        self.slope = nn.Parameter(torch.full((config.heads, frames), 0.5))
        self.favour = nn.Parameter(torch.zeros(config.heads, frames))

    def forward(self, context: Tensor, frames: Sequence[Tensor], clip: Sequence[Tensor]) -> Tensor:
        """Context and frame features (B, C, h, w) and CLIP features (B, E, h, w), target last -> (B, E, h, w)."""
        b, _, h, w = context.shape
        asked = torch.cat([frames[-1], context], dim=1).flatten(2).transpose(1, 2)
        query = self._split(self.query(self.norm_query(asked)))
        offset = self.slope.shape[1] - len(frames)
        away = _squared_distances(h, w, context.device)
        logits = []
        for i, frame in enumerate(frames):
            key = self._split(self.key(self.norm_key(frame.flatten(2).transpose(1, 2))))
            near = F.softplus(self.slope[:, offset + i]).view(-1, 1, 1) * away
            match = query @ key.transpose(-1, -2) * key.shape[-1] ** -0.5
            logits.append(match - near + self.favour[:, offset + i].view(-1, 1, 1))
        weight = torch.cat(logits, dim=-1).softmax(dim=-1).mean(dim=1)
        values = torch.cat([c.flatten(2) for c in clip], dim=2).transpose(1, 2)
        return (weight @ values).transpose(1, 2).reshape(b, -1, h, w)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def _squared_distances(h: int, w: int, device: torch.device) -> Tensor:
    y, x = torch.meshgrid(torch.arange(h, device=device), torch.arange(w, device=device), indexing="ij")
    places = torch.stack([y.flatten(), x.flatten()], dim=1).float()
    return torch.cdist(places, places).square() * 0.1


class CostDecoder(nn.Module):
    """Cost volume -> one logit map per class, by convolutions that do not know which class they look at."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        channels = config.templates * (2 if config.carry else 1)
        low, high, width = config.low_width, config.high_width, config.width
        self.position_cue = config.position_cue
        self.residual = config.cost_residual
        self.scale = nn.Parameter(torch.tensor(10.0))
        self.smooth = nn.Conv2d(channels, low, 7, padding=3)
        self.cue_low = nn.Conv2d(width, low, 3, padding=1)
        self.mix_low = nn.Conv2d(low, low, 1)
        self.enlarge = nn.ConvTranspose2d(low, high, config.upsample, config.upsample)
        self.guide = nn.Conv2d(width, high, 3, padding=1)
        self.cue_high = nn.Conv2d(width, high, 3, padding=1)
        self.from_cost = nn.Conv2d(high, high, 3, padding=1, bias=False)
        self.from_guide = nn.Conv2d(2 * high, high, 3, padding=1) if config.mix == "concat" else None
        self.norm = nn.GroupNorm(4, high)
        last = nn.Conv2d(high, 1, 3, padding=1)
        if config.cost_residual:
            nn.init.zeros_(last.weight)
        self.out = nn.Sequential(nn.Conv2d(high, high, 3, padding=1), nn.ReLU(), last)

    def forward(self, cost: Tensor, context: Tensor, shallow: Tensor) -> Tensor:
        """Cosines (B, K, Q, h, w), context and shallow features (B, C, ., .) -> logits (B, K, H, W)."""
        b, k, _, h, w = cost.shape
        x = self.smooth(cost.flatten(0, 1) * self.scale)
        if self.position_cue:
            cue = F.relu(self.cue_low(F.adaptive_avg_pool2d(shallow, (h, w))))
            x = x + _repeat(cue, k)
        x = self.enlarge(F.relu(x + self.mix_low(F.relu(x))))
        size = x.shape[-2:]
        guide = F.relu(self.guide(_resize(context, size)))
        high = F.relu(self.cue_high(_resize(shallow, size))) if self.position_cue else torch.zeros_like(guide)
        if self.from_guide is not None:
            # A convolution of [cost, guide] is the sum of two; the guide's half is the same for every class.
            x = self.from_cost(x) + _repeat(self.from_guide(torch.cat([guide, high], dim=1)), k)
        else:
            x = self.from_cost(x + _repeat(guide + high, k))
        logits = self.out(F.relu(self.norm(x))).view(b, k, *size)
        if self.residual:
            mean = cost.mean(dim=2) * self.scale
            logits = logits + F.interpolate(mean, size, mode="bilinear", align_corners=False)
        return logits


def _repeat(x: Tensor, times: int) -> Tensor:
    return x.unsqueeze(1).expand(-1, times, -1, -1, -1).flatten(0, 1)


def _resize(x: Tensor, size: Sequence[int]) -> Tensor:
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return F.interpolate(x, tuple(size), mode="bilinear", align_corners=False)
