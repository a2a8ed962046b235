"""Learned prompts: the row, the place that is read, and that cutting the padding changes nothing."""

from __future__ import annotations

import pytest
import torch

from ovbench.core.errors import UserError
from ovbench.nn.clip import ClipPair, load_clip
from ovbench.nn.prompts import LearnedPrompt, encode_prompted, inner_tokens
from ovbench.nn.text import encode_texts, read_text
from ovbench.protocol.vocabulary import Vocabulary


@pytest.fixture(scope="module")
def clip() -> ClipPair:
    return load_clip("world", untrained=True)


def test_names_and_gradients(clip: ClipPair) -> None:
    prompt = LearnedPrompt(clip, 4)
    assert set(prompt.state_dict()) == {"prefix_prompt", "start_signal", "end_signal", "pad_signal"}
    vectors = prompt(["red disc", "plain sky", "floor"])
    assert vectors.shape == (3, 64)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))
    vectors.sum().backward()
    assert prompt.prefix_prompt.grad is not None and prompt.prefix_prompt.grad.abs().sum() > 0


def test_without_a_prefix_it_reads_the_bare_words(clip: ClipPair) -> None:
    words = ["red disc", "sky"]
    with torch.no_grad():
        ours = LearnedPrompt(clip, 0)(words)
    torch.testing.assert_close(ours, encode_texts(clip, words), atol=1e-6, rtol=0)


def test_neighbours_in_a_batch_do_not_matter(clip: ClipPair) -> None:
    prompt = LearnedPrompt(clip, 4)
    with torch.no_grad():
        together = prompt(["sky", "red disc"])
        torch.testing.assert_close(together[:1], prompt(["sky"]), atol=1e-6, rtol=0)


def test_a_name_that_is_too_long(clip: ClipPair) -> None:
    with pytest.raises(UserError, match="reads 16"):
        LearnedPrompt(clip, 13)(["red disc"])


def test_the_row_of_an_open_clip_tower() -> None:
    clip = load_clip("RN50-quickgelu", untrained=True)
    prompt = LearnedPrompt(clip, 16)
    table = clip.model.token_embedding.weight
    assert torch.equal(prompt.start_signal[0], table[49406]) and torch.equal(
        prompt.end_signal[0], table[49407]
    )
    assert torch.equal(prompt.dot_signal[0], table[269]) and torch.equal(prompt.pad_signal[0], table[0])
    tokens = inner_tokens(clip, "wall-brick!")
    assert len(tokens) == 4
    parts = [prompt.start_signal, prompt.prefix_prompt, table[tokens], prompt.dot_signal, prompt.end_signal]
    row = torch.cat([*parts, prompt.pad_signal.expand(77 - 23, -1)])
    with torch.no_grad():
        full = read_text(clip.model, row[None], torch.tensor([22]))
        ours = prompt(["wall-brick!"])
    torch.testing.assert_close(ours, torch.nn.functional.normalize(full, dim=-1), atol=1e-6, rtol=0)


def test_synonyms_are_averaged_and_made_unit(clip: ClipPair) -> None:
    prompt = LearnedPrompt(clip, 2)
    words = Vocabulary(["disc", "sky"], synonyms=[["red disc", "disc"], ["sky"]])
    with torch.no_grad():
        rows = prompt(["red disc", "disc", "sky"])
        ours = encode_prompted(prompt, words)
        assert torch.equal(encode_prompted(prompt, Vocabulary(["red disc", "disc", "sky"])), rows)
    expected = torch.nn.functional.normalize(rows[0] + rows[1], dim=0)
    torch.testing.assert_close(ours, torch.stack([expected, rows[2]]), atol=1e-6, rtol=0)
