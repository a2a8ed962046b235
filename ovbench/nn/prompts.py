"""Learned prompts: class names read by a text tower between vectors that were trained, not written.

Sources: zsseg.baseline (LearnablePromptExtractor), DeOP, FreeSeg; the idea is CoOp's (Zhou et al., IJCV 2022).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovbench.core.errors import UserError
from ovbench.core.hashing import hash_json
from ovbench.protocol.vocabulary import Vocabulary

from .clip import ClipPair, hash_state
from .text import cached_vectors, read_text

_BATCH = 64
SIGNALS = ("start_signal", "dot_signal", "end_signal", "pad_signal")


class LearnedPrompt(nn.Module):
    """Rows of [start][prefix ...][noun ...][dot][end][pad ...], read at the end.

    Names: parameter `prefix_prompt` (P, D); buffers `start_signal`, `dot_signal`, `end_signal`, `pad_signal`,
    (1, D) each, which belong to the checkpoint. Text towers that do not know a full stop (the embedded ones)
    have no dot, neither in the row nor among the buffers. The tower itself is not part of this module.
    """

    start_signal: Tensor
    dot_signal: Tensor
    end_signal: Tensor
    pad_signal: Tensor

    def __init__(self, clip: ClipPair, length: int = 16) -> None:
        super().__init__()
        self._clip = [clip]  # in a list: not a submodule
        table = clip.model.token_embedding.weight.detach()
        self.prefix_prompt = nn.Parameter(torch.randn(length, table.shape[1]) * 0.02)
        start, dot, end = self._special()
        self.has_dot = dot is not None
        tokens = zip(SIGNALS, (start, dot, end, 0), strict=True)
        self._tokens = {name: token for name, token in tokens if token is not None}
        for name, token in self._tokens.items():
            self.register_buffer(name, table[token][None].clone())

    def take_signals(self) -> None:
        """Read the signals from the tower's table again, for when its weights have changed."""
        table = self.clip.model.token_embedding.weight.detach()
        for name, token in self._tokens.items():
            self.get_buffer(name).copy_(table[token][None])

    @property
    def clip(self) -> ClipPair:
        """The towers it was built on."""
        return self._clip[0]

    def identity(self) -> list[str]:
        """Hashes of the learned vectors and of the text tower, whatever file these came from."""
        tower = {k: v for k, v in self.clip.model.state_dict().items() if not k.startswith("visual.")}
        return [self.clip.name, hash_state(self.state_dict()), hash_state(tower)]

    def forward(self, nouns: Sequence[str]) -> Tensor:
        """Class names -> (N, E) unit vectors; gradients reach `prefix_prompt`.

        Raises:
            UserError: a name for which the tower's context is too short.
        """
        rows = [self._row(noun) for noun in nouns]
        parts = []
        for start in range(0, len(rows), _BATCH):
            parts.append(self._encode(rows[start : start + _BATCH]))
        return F.normalize(torch.cat(parts), dim=-1)

    def _row(self, noun: str) -> Tensor:
        """(L, D) of one name, without padding."""
        model = self._clip[0].model
        middle = [self.dot_signal] if self.has_dot else []
        tokens = torch.tensor(self._inner(noun), dtype=torch.int64, device=self.prefix_prompt.device)
        words = model.token_embedding(tokens)
        row = torch.cat(
            [*self._front(), self.start_signal, self.prefix_prompt, words, *middle, self.end_signal]
        )
        context = len(model.positional_embedding)
        if len(row) > context:
            raise UserError(
                f"the class name '{noun}' takes {len(row)} tokens with the learned prompt; "
                f"'{self._clip[0].name}' reads {context}",
                hint="shorten the class name",
            )
        return row

    def _front(self) -> list[Tensor]:
        """(L, D) each: what stands before the start signal."""
        return []

    def _encode(self, rows: Sequence[Tensor]) -> Tensor:
        """Rows of any lengths -> (N, E)."""
        model = self._clip[0].model
        full = len(model.positional_embedding) if model.attn_mask is None else max(map(len, rows))
        padded = [torch.cat([r, self.pad_signal.expand(full - len(r), -1)]) for r in rows]
        ends = torch.tensor([len(r) - 1 for r in rows], device=self.prefix_prompt.device)
        return read_text(model, torch.stack(padded), ends)

    def _inner(self, text: str) -> list[int]:
        """Token ids between start and end."""
        return inner_tokens(self._clip[0], text)

    def _special(self) -> tuple[int, int | None, int]:
        clip = self._clip[0]
        with torch.device("cpu"):  # also where the network itself is only names and shapes
            bare = [int(t) for t in clip.tokenizer(["a"])[0]]
        inner = inner_tokens(clip, "a")
        dot = inner_tokens(clip, ".")
        known = clip.name not in ("world", "tiny") and len(dot) == 1
        return bare[0], dot[0] if known else None, bare[len(inner) + 1]


class AdaptivePrompt(LearnedPrompt):
    """`LearnedPrompt` with a task in front: [task words ...][task prompt ...][start][prefix ...][noun ...] and so on.

    Names: also parameter `task_prompt` (T, D). The words' vectors are the tower's own and not stored.
    Source: FreeSeg (Qin et al., CVPR 2023), section 3.2; the start signal stands behind the task there, too.

    Args:
        task: what the task is called, "semantic segmentation."; "" leaves the words out.
        task_length: vectors of the task's prompt; 0 leaves it out.
    """

    def __init__(self, clip: ClipPair, length: int = 16, task: str = "", task_length: int = 8) -> None:
        super().__init__(clip, length)
        self._task = inner_tokens(clip, task) if task else []
        width = self.prefix_prompt.shape[1]
        if task_length:
            self.task_prompt = nn.Parameter(torch.randn(task_length, width) * (0.4 / width) ** 0.5)

    def identity(self) -> list[str]:
        """Also the task's words."""
        return [*super().identity(), repr(self._task)]

    def _front(self) -> list[Tensor]:
        words = torch.tensor(self._task, dtype=torch.int64, device=self.prefix_prompt.device)
        found = [self._clip[0].model.token_embedding(words)]
        return [*found, self.task_prompt] if hasattr(self, "task_prompt") else found


def encode_prompted(prompt: LearnedPrompt, vocabulary: Vocabulary) -> Tensor:
    """(K, E) unit vectors of a vocabulary; those of synonyms are averaged and made unit again.

    The vocabulary's templates are not used: the learned vectors stand for them. Without gradients the rows
    come from the cache on disk where they are there.
    """
    words = [w.strip() for synonyms in vocabulary.synonyms for w in synonyms]
    clip = prompt.clip
    if torch.is_grad_enabled():
        vectors: Tensor = prompt(words)
    else:
        vectors = cached_vectors(
            clip, hash_json([prompt.identity(), clip.device.type, words]), lambda: prompt(words)
        )
    if len(words) == len(vocabulary):
        return vectors
    owner = torch.tensor([k for k, synonyms in enumerate(vocabulary.synonyms) for _ in synonyms])
    means = [vectors[owner == k].mean(0) for k in range(len(vocabulary))]
    return F.normalize(torch.stack(means), dim=-1)


def inner_tokens(clip: ClipPair, text: str) -> list[int]:
    """Token ids of a text without start, end and padding; raises `UserError` for unknown words."""
    size = len(clip.model.positional_embedding)
    with torch.device("cpu"):
        row = clip.tokenizer([text], context_length=2 * size)[0]
        length = int((row != 0).nonzero().max()) + 1
        return [int(t) for t in row[1 : length - 1]]
