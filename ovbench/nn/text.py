"""Class names to vectors: prompt templates, synonyms, and a cache on disk."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovbench.core.errors import UserError
from ovbench.core.hashing import hash_json
from ovbench.core.paths import cache_dir
from ovbench.protocol.vocabulary import Vocabulary

from .checkpoint import load_weights, save_weights
from .clip import ClipPair

_BATCH = 256
_CACHE_VERSION = 1
_MANY = 2  # batches; more texts than these hold are encoded in parts
_TELL_EVERY = 10.0  # seconds


@dataclass(frozen=True)
class TextRows:
    """One unit vector per synonym: `vectors` (R, E) float32, `owner` (R,) int64 class of each row."""

    vectors: Tensor
    owner: Tensor

    def reduce(self, scores: Tensor) -> Tensor:
        """Scores of rows (R, ...) -> scores of classes (K, ...): a class is as good as its best synonym."""
        if len(self.owner) == int(self.owner[-1]) + 1:
            return scores
        parts = [scores[self.owner == k].amax(0) for k in range(int(self.owner[-1]) + 1)]
        return torch.stack(parts)


def encode_texts(clip: ClipPair, texts: Sequence[str]) -> Tensor:
    """(N, E) float32 unit vectors on the model's device.

    Raises:
        UserError: a text longer than the model's context (never truncated), or with a word that the
            embedded tokenizer does not know.
    """
    check_length(clip, texts)
    return torch.cat([_encode_batch(clip, texts[i : i + _BATCH]) for i in range(0, len(texts), _BATCH)])


def _encode_batch(clip: ClipPair, texts: Sequence[str]) -> Tensor:
    with torch.no_grad():
        tokens = clip.tokenizer(list(texts)).to(clip.device)
        return F.normalize(_encode_tokens(clip.model, tokens).float(), dim=-1)


def _encode_in_parts(clip: ClipPair, texts: Sequence[str], key: str) -> Tensor:
    """`encode_texts` of many texts: what is done stays on disk until the whole is there, and is told now and then.

    Parts are the very batches of `encode_texts`, so that a run taken up again gets the same bits.
    """
    check_length(clip, texts)
    began = spoke = time.monotonic()
    parts: list[Tensor] = []
    for start in range(0, len(texts), _BATCH):
        some = texts[start : start + _BATCH]
        parts.append(cached_vectors(clip, _part(key, start), partial(_encode_batch, clip, some)))
        now, done = time.monotonic(), start + len(some)
        if now - spoke >= _TELL_EVERY and done < len(texts):
            spoke = now
            left = (now - began) / done * (len(texts) - done)
            tell(f"text: {done} of {len(texts)} prompts encoded by {clip.name}, {left:.0f} s left")
    return torch.cat(parts)


def _part(key: str, start: int) -> str:
    return f"{key}-part{start}"


def tell(text: str) -> None:
    """A line for whoever waits, on stderr."""
    print(text, file=sys.stderr, flush=True)


def _encode_tokens(model: Any, tokens: Tensor) -> Tensor:
    """(N, L) token ids -> (N, E). Towers that read at the end token skip the padding: several times faster."""
    causal = getattr(model, "attn_mask", None) is not None
    if not causal or getattr(model, "text_pool_type", None) != "argmax":
        out: Tensor = model.encode_text(tokens)
        return out
    ends = tokens.argmax(dim=1)
    return read_text(model, model.token_embedding(tokens[:, : int(ends.max()) + 1]), ends)


def read_text(model: Any, x: Tensor, ends: Tensor) -> Tensor:
    """Embedded rows through an open_clip text tower.

    In a causal tower nothing after a row's end reaches it, so rows may be cut behind the longest end.

    Args:
        x: (N, L, D) embeddings, L at most the context.
        ends: (N,) int64 place that is read.

    Returns:
        (N, E), not normalised.
    """
    length = x.shape[1]
    mask = None if model.attn_mask is None else model.attn_mask[:length, :length]
    x = model.transformer(x + model.positional_embedding[:length], attn_mask=mask)
    x = model.ln_final(x[torch.arange(len(x), device=x.device), ends])
    projection = model.text_projection
    if projection is None:
        return x
    out: Tensor = projection(x) if isinstance(projection, nn.Linear) else x @ projection
    return out


def check_length(clip: ClipPair, texts: Sequence[str]) -> None:
    """Raise `UserError` for a text that the tokenizer would cut."""
    size = clip.tokenizer([texts[0]]).shape[1]
    longer = clip.tokenizer(list(texts), context_length=2 * size)
    # Past the context there is padding only, equal to the row's last entry, unless the text is too long.
    cut = (longer[:, size:] != longer[:, -1:]).any(dim=1)
    if cut.any():
        text = texts[int(cut.int().argmax())]
        raise UserError(
            f"the prompt '{text}' is longer than the {size} tokens that '{clip.name}' reads",
            hint="shorten the class name or the template",
        )


def encode_templates(clip: ClipPair, vocabulary: Vocabulary, *, unit: bool = True) -> Tensor:
    """(K, P, E) unit vectors per class and template; synonyms are averaged and made unit again.

    Args:
        unit: False leaves the means over synonyms as they are.
    """
    rows, owner = _encode_all(clip, vocabulary)
    means = _mean_by_owner(rows, owner)
    return F.normalize(means, dim=-1) if unit else means


def encode_rows(clip: ClipPair, vocabulary: Vocabulary) -> TextRows:
    """One row per synonym: mean over the templates of unit vectors, made unit again (CLIP's ensembling)."""
    rows, owner = _encode_all(clip, vocabulary)
    return TextRows(F.normalize(rows.mean(1), dim=-1), owner)


def encode_vocabulary(clip: ClipPair, vocabulary: Vocabulary) -> Tensor:
    """(K, E) unit vectors: mean of unit vectors over templates, made unit; the same over synonyms."""
    rows = encode_rows(clip, vocabulary)
    return F.normalize(_mean_by_owner(rows.vectors, rows.owner), dim=-1)


def encode_pooled(clip: ClipPair, vocabulary: Vocabulary) -> Tensor:
    """(K, E) unit vectors: mean of the unit vectors of every synonym in every template, made unit."""
    rows, owner = _encode_all(clip, vocabulary)
    return F.normalize(_mean_by_owner(rows.mean(1), owner), dim=-1)


def _mean_by_owner(rows: Tensor, owner: Tensor) -> Tensor:
    return torch.stack([rows[owner == k].mean(0) for k in range(int(owner[-1]) + 1)])


def _encode_all(clip: ClipPair, vocabulary: Vocabulary) -> tuple[Tensor, Tensor]:
    """Unit vectors (R, P, E) of every synonym in every template, and the class (R,) of every synonym."""
    owner = torch.tensor([k for k, words in enumerate(vocabulary.synonyms) for _ in words])
    texts = [t.replace("{}", w) for words in vocabulary.synonyms for w in words for t in vocabulary.templates]

    shape = (len(owner), len(vocabulary.templates), -1)
    if clip.weights_id is None:
        return encode_texts(clip, texts).reshape(shape), owner.to(clip.device)
    key = hash_json([_CACHE_VERSION, clip.name, clip.weights_id, clip.device.type, texts])
    many = len(texts) > _MANY * _BATCH

    def encode() -> Tensor:
        found = _encode_in_parts(clip, texts, key) if many else encode_texts(clip, texts)
        return found.reshape(shape)

    vectors = cached_vectors(clip, key, encode)
    if many and _entry(key).is_file():
        for start in range(0, len(texts), _BATCH):
            with contextlib.suppress(OSError):
                _entry(_part(key, start)).unlink(missing_ok=True)
    return vectors, owner.to(clip.device)


def _entry(key: str) -> Path:
    return cache_dir("text") / f"{key}.safetensors"


def cached_vectors(clip: ClipPair, key: str, encode: Callable[[], Tensor]) -> Tensor:
    """What `encode` gives, from the cache on disk where it is there.

    Args:
        key: a hash of all that the vectors depend on.
    """
    path = _entry(key)
    if path.is_file():
        # A damaged entry, or one that another process has just removed, costs a recomputation, nothing else.
        with contextlib.suppress(UserError, OSError):
            return load_weights(path)[0]["text"].to(clip.device)
    vectors = encode()
    # A cache that cannot be written (read-only home, full disk) must not stop a run.
    with contextlib.suppress(UserError):
        save_weights(path, {"text": vectors}, {"model": clip.name})
    return vectors
