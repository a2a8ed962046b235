"""Prompts, synonyms, truncation, tokenizers and the cache of text vectors."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

from ovbench.core.errors import UserError
from ovbench.nn import text as text_module
from ovbench.nn.clip import ClipPair, load_clip
from ovbench.nn.text import TextRows, encode_rows, encode_templates, encode_texts, encode_vocabulary
from ovbench.nn.tiny_clip import HashTokenizer
from ovbench.nn.world_clip import WordTokenizer, load_words
from ovbench.protocol.vocabulary import Vocabulary

TEMPLATES = ("a photo of a {}.", "there is a {} in the scene.", "{}")


@pytest.fixture(scope="module")
def world() -> ClipPair:
    return load_clip("world", untrained=True)


def test_one_prompt_by_hand(world: ClipPair) -> None:
    tokens = world.tokenizer(["a photo of a red disc."])
    with torch.no_grad():
        expected = torch.nn.functional.normalize(world.model.encode_text(tokens), dim=-1)
    torch.testing.assert_close(encode_texts(world, ["a photo of a red disc."]), expected)


def test_templates_then_mean(world: ClipPair) -> None:
    vocabulary = Vocabulary(["red disc", "blue sky"], templates=TEMPLATES)
    blocks = encode_templates(world, vocabulary)
    assert blocks.shape == (2, 3, 64)
    torch.testing.assert_close(blocks[1, 2], encode_texts(world, ["blue sky"])[0])
    torch.testing.assert_close(blocks[0, 1], encode_texts(world, ["there is a red disc in the scene."])[0])
    mean = torch.nn.functional.normalize(blocks.mean(1), dim=-1)
    torch.testing.assert_close(encode_vocabulary(world, vocabulary), mean)


def test_synonyms_become_rows_and_the_best_one_counts(world: ClipPair) -> None:
    vocabulary = Vocabulary(["sky", "disc"], synonyms=[("sky", "blue sky"), ("disc",)])
    rows = encode_rows(world, vocabulary)
    assert rows.vectors.shape == (3, 64) and rows.owner.tolist() == [0, 0, 1]
    scores = torch.tensor([[1.0, 5.0], [3.0, 2.0], [7.0, 0.0]])
    assert rows.reduce(scores).tolist() == [[3.0, 5.0], [7.0, 0.0]]
    single = TextRows(rows.vectors[:2], torch.tensor([0, 1]))
    assert torch.equal(single.reduce(scores[:2]), scores[:2])
    assert encode_vocabulary(world, vocabulary).shape == (2, 64)
    torch.testing.assert_close(encode_templates(world, vocabulary).norm(dim=-1), torch.ones(2, 1))


def test_the_cache_gives_the_same_bits_and_spares_the_work(
    world: ClipPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    vocabulary = Vocabulary(["red disc", "blue sky"], templates=TEMPLATES)
    first = encode_templates(world, vocabulary)

    def fail(*_: object) -> torch.Tensor:
        raise AssertionError("encoded twice")

    monkeypatch.setattr(text_module, "encode_texts", fail)
    assert torch.equal(encode_templates(world, vocabulary), first)
    with pytest.raises(AssertionError):
        encode_templates(world, Vocabulary(["red disc", "blue floor"], templates=TEMPLATES))


def test_the_cache_key_follows_the_weights(world: ClipPair) -> None:
    vocabulary = Vocabulary(["red disc"])
    first = encode_vocabulary(world, vocabulary)
    other = load_clip("world", untrained=True)
    state = dict(world.model.state_dict())
    state["ln_final.bias"] = state["ln_final.bias"] + 1
    other.load_state(state)
    assert not torch.allclose(encode_vocabulary(other, vocabulary), first)


def test_a_damaged_cache_entry_is_made_again(world: ClipPair, tmp_path: Path) -> None:
    vocabulary = Vocabulary(["red disc"])
    first = encode_vocabulary(world, vocabulary)
    (entry,) = (tmp_path / "cache" / "text").iterdir()
    entry.write_bytes(entry.read_bytes()[:-20])
    assert torch.equal(encode_vocabulary(world, vocabulary), first)
    assert encode_vocabulary(world, vocabulary).shape == (1, 64)


def test_too_long_is_an_error_and_never_cut(world: ClipPair) -> None:
    for name in ("red " * 15, "red " * 60):
        with pytest.raises(UserError, match=r"longer than|at most"):
            encode_vocabulary(world, Vocabulary([name.strip()]))
    encode_vocabulary(world, Vocabulary([("red " * 14).strip()], templates=("{}",)))


def test_clips_own_tokenizer_is_checked_too() -> None:
    from open_clip.tokenizer import SimpleTokenizer

    clip = ClipPair(
        "bpe", None, SimpleTokenizer(context_length=77), (0.0,), (1.0,), None, torch.device("cpu")
    )
    text_module.check_length(clip, ["a photo of a dog.", " ".join(["dog"] * 75)])
    for words in (76, 160, 400):
        with pytest.raises(UserError, match="longer than the 77 tokens"):
            text_module.check_length(clip, ["a dog", " ".join(["dog"] * words)])


def test_words_the_world_does_not_know(world: ClipPair) -> None:
    with pytest.raises(UserError, match="'zebra'") as caught:
        encode_vocabulary(world, Vocabulary(["zebra"]))
    assert "checkered" in (caught.value.hint or "")


def test_word_tokens() -> None:
    words = load_words()
    tokenizer = WordTokenizer(words, 8)
    out = tokenizer(["A red, Disc.", "sky"])
    assert out.dtype == torch.int64 and out.shape == (2, 8)
    assert out[0].tolist() == [1, *(words.index(w) for w in ("a", "red", "disc")), 2, 0, 0, 0]


def test_hash_tokens() -> None:
    tokenizer = HashTokenizer()
    out = tokenizer(["a bad photo of a Sign_Symbol.", "sign symbol", "tree"])
    assert out[0, 2:5].tolist() == [*out[1, 1:3].tolist(), 2] and out[0, 5:].sum() == 0
    assert out[2, 1] != out[1, 1] and int(out.max()) < 4099
    # Fixed for ever: weights trained with these ids are shipped.
    assert int(out[2, 1]) == 3 + int.from_bytes(hashlib.sha256(b"tree").digest()[:8], "big") % 4096
    assert (tokenizer(["photo of a photo"])[0] > 2).sum() == 4
    with pytest.raises(UserError, match="at most 32"):
        tokenizer(["x " * 40])


def test_tiny_reads_any_word() -> None:
    clip = load_clip("tiny")
    vectors = encode_vocabulary(clip, Vocabulary(["road", "sign symbol", "bicyclist"]))
    cosines = vectors @ vectors.T
    assert torch.allclose(cosines.diag(), torch.ones(3), atol=1e-5)
    assert cosines.fill_diagonal_(0).abs().max() < 0.8
    swapped = encode_vocabulary(clip, Vocabulary(["symbol sign"]))
    assert float(swapped[0] @ vectors[1]) > 0.8
    assert clip.weights_id is not None and clip.weights_id.startswith("name-seeded ")


def _many(world: ClipPair, monkeypatch: pytest.MonkeyPatch) -> tuple[Vocabulary, torch.Tensor]:
    """A vocabulary of five batches of two, and its vectors without parts."""
    monkeypatch.setattr(text_module, "_BATCH", 2)
    monkeypatch.setattr(text_module, "_TELL_EVERY", 0.0)
    vocabulary = Vocabulary(["red disc", "blue sky", "green floor"], templates=TEMPLATES)
    texts = [t.replace("{}", n) for n in vocabulary.names for t in TEMPLATES]
    return vocabulary, encode_texts(world, texts).reshape(3, 3, -1)


def test_many_texts_are_told_of_and_leave_one_entry(
    world: ClipPair, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vocabulary, plain = _many(world, monkeypatch)
    assert torch.equal(encode_templates(world, vocabulary, unit=False), plain)
    told = capsys.readouterr()
    assert told.out == "" and "text: 2 of 9 prompts encoded by world" in told.err
    assert len(list((tmp_path / "cache" / "text").iterdir())) == 1


def test_what_was_encoded_before_a_run_was_killed_is_not_encoded_again(
    world: ClipPair, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    vocabulary, plain = _many(world, monkeypatch)
    encode, done = text_module._encode_batch, []

    def deadly(clip: ClipPair, texts: list[str]) -> torch.Tensor:
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(texts)
        return encode(clip, texts)

    monkeypatch.setattr(text_module, "_encode_batch", deadly)
    with pytest.raises(KeyboardInterrupt):
        encode_templates(world, vocabulary, unit=False)
    assert len(list((tmp_path / "cache" / "text").iterdir())) == 3
    rest: list[list[str]] = []

    def counting(clip: ClipPair, texts: list[str]) -> torch.Tensor:
        rest.append(texts)
        return encode(clip, texts)

    monkeypatch.setattr(text_module, "_encode_batch", counting)
    assert torch.equal(encode_templates(world, vocabulary, unit=False), plain)
    assert len(rest) == 2 and len(list((tmp_path / "cache" / "text").iterdir())) == 1
