"""A small two-tower model for any words, with no pre-training behind it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ovbench.core.errors import UserError

from .seeded import fill_by_name
from .world_clip import conv_stem

BUCKETS = 4096
CONTEXT = 32

_SILENT = frozenset(
    (
        "a",
        "an",
        "and",
        "are",
        "at",
        "in",
        "is",
        "it",
        "of",
        "on",
        "photo",
        "that",
        "the",
        "there",
        "this",
        "with",
    )
)


class HashTokenizer:
    """Any word becomes one of a fixed number of ids by its SHA-256; called like open_clip's tokenizers.

    Words are lower-cased runs of letters and digits; "_" and "-" separate words. Articles, prepositions and
    "photo" are left out, unless nothing else is said: they would only make all prompts alike to a model that
    has learned nothing. Ids 0, 1 and 2 are padding, start and end. Two words share an id with probability
    1 / buckets.
    """

    def __init__(self, buckets: int = BUCKETS, context_length: int = CONTEXT) -> None:
        self.buckets = buckets
        self.context_length = context_length

    def __call__(self, texts: str | Sequence[str], context_length: int | None = None) -> Tensor:
        """(N, context) int64 token ids, padded with 0.

        Raises:
            UserError: a prompt longer than the context.
        """
        texts = [texts] if isinstance(texts, str) else list(texts)
        size = context_length or self.context_length
        out = torch.zeros(len(texts), size, dtype=torch.int64)
        for row, text in enumerate(texts):
            words = re.findall(r"[^\W_]+", text.lower())
            words = [w for w in words if w not in _SILENT] or words
            ids = [1, *(self._id(w) for w in words), 2]
            if len(ids) > size:
                raise UserError(f"the prompt '{text}' has {len(ids)} tokens; this model reads at most {size}")
            out[row, : len(ids)] = torch.tensor(ids)
        return out

    def _id(self, word: str) -> int:
        digest = hashlib.sha256(word.encode()).digest()
        return 3 + int.from_bytes(digest[:8], "big") % self.buckets


def build_tiny_clip() -> Any:
    """An `open_clip.CLIP` sized like the world's, with a hashed vocabulary; the same weights every time.

    All weights are name-seeded. In the text tower every word counts, wherever it stands: queries, keys,
    positions and the vectors of start and end are zero, so that names differ as much as their words do.
    """
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    vision = CLIPVisionCfg(
        layers=3, width=96, head_width=32, patch_size=8, image_size=(96, 160), pool_type="avg"
    )
    text = CLIPTextCfg(
        context_length=CONTEXT,
        vocab_size=BUCKETS + 3,
        width=64,
        heads=2,
        layers=2,
        pool_type="eos",
        eos_id=2,
        pad_id=0,
    )
    model = CLIP(64, vision, text)
    model.visual.conv1 = conv_stem(vision.width)
    fill_by_name(model)
    with torch.no_grad():
        model.positional_embedding.zero_()
        model.token_embedding.weight[:3] = 0
        for block in model.transformer.resblocks:
            block.attn.in_proj_weight[: 2 * text.width] = 0
            block.attn.in_proj_bias[: 2 * text.width] = 0
    return model
