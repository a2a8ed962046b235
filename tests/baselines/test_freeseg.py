"""FreeSeg at the world's size: how names reach the masks, where queries may look, and what is trained."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from mask_methods import small
from ovbench.baselines.freeseg.decoder import MaskedPredictor
from ovbench.baselines.freeseg.interaction import Interaction, TextAttention
from ovbench.baselines.freeseg.segmenter import FreeSeg

from ovbench.core.errors import UserError
from ovbench.engine.training import plan_training
from ovbench.methods.create import create
from ovbench.nn.clip import load_clip
from ovbench.nn.prompts import AdaptivePrompt, inner_tokens
from ovbench.nn.text import read_text
from ovbench.protocol.vocabulary import Vocabulary

NAMES = ("red plain square", "blue dotted sky", "cyan checkered floor")
IMAGE = np.random.default_rng(0).integers(0, 256, (72, 120, 3)).astype(np.uint8)


def world(seen: tuple[bool, ...] | None = None, **options: Any) -> FreeSeg:
    method = create("freeseg", "world", untrained=True, **options)
    assert isinstance(method, FreeSeg)
    method.prepare(Vocabulary(NAMES, seen))
    return method


def test_shapes_and_labels() -> None:
    method = world()
    found = method.network.opinions(IMAGE, method.texts)
    assert found.query.shape == (20, 4) and found.masks.shape == (20, 72, 120)
    assert found.region.shape == (int(found.valid.sum()), 3)
    scores = method.scores(IMAGE)
    assert scores.shape == (3, 72, 120) and scores.dtype == np.float32 and (scores >= 0).all()
    assert np.array_equal(method.segment_frame(IMAGE), scores.argmax(0))
    assert method.scores(IMAGE, resize=False, out_size=(10, 20)).shape == (3, 10, 20)


def test_every_layer_speaks_in_training_and_one_before_the_first() -> None:
    network = world().network.net
    text = torch.eye(64)[:5]
    with torch.no_grad():
        said = network(torch.zeros(2, 3, 96, 128), text, every=True)
        last = network(torch.zeros(2, 3, 96, 128), text)
    assert said.logits.shape == (4, 2, 20, 6) and said.masks.shape == (4, 2, 20, 48, 64)
    torch.testing.assert_close(said.logits[-1:], last.logits)
    torch.testing.assert_close(said.masks[-1:], last.masks)


def test_masks_depend_on_the_names_asked_for() -> None:
    network = world().network.net
    images = torch.rand(1, 3, 96, 128)
    with torch.no_grad():
        one, other = (network(images, torch.eye(64)[part]).masks for part in (slice(0, 3), slice(3, 6)))
    assert not torch.allclose(one, other, atol=1e-4)


@pytest.mark.parametrize("names", [1, 3, 40])
def test_folding_names_into_the_projections_changes_nothing(names: int) -> None:
    torch.manual_seed(0)
    attention = TextAttention(8, 12, 32, 4, 0.0)
    for bias in (attention.q_proj.bias, attention.k_proj.bias, attention.v_proj.bias):
        torch.nn.init.normal_(bias)
    x, text = torch.randn(2, 5, 8), torch.randn(names, 12)
    heads = [p(text).view(names, 4, 8) for p in (attention.k_proj, attention.v_proj)]
    asked = attention.q_proj(x).view(2, 5, 4, 8) / 8**0.5
    expected = torch.zeros(2, 5, 4, 8)
    for h in range(4):
        expected[:, :, h] = (asked[:, :, h] @ heads[0][:, h].T).softmax(-1) @ heads[1][:, h]
    expected = attention.out_proj(expected.flatten(2))
    torch.testing.assert_close(attention(x, text), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(attention._folded(x, *heads), expected, atol=1e-5, rtol=1e-5)


def test_the_two_oddities_of_the_interaction() -> None:
    """What is found is added after the norm, and the text is normed once more for each map."""
    torch.manual_seed(0)
    part = Interaction(8, 12, 32, 4, 0.0)
    torch.nn.init.normal_(part.layer_norm_k_1.weight)
    torch.nn.init.normal_(part.layer_norm_k_1.bias)
    maps, text = [torch.randn(1, 8, 2, 3), torch.randn(1, 8, 4, 5)], torch.randn(3, 12)
    found = part(maps, text)
    for x, changed in zip(maps, found, strict=True):
        text = part.layer_norm_k_1(text)
        cells = part.layer_norm_q_1(x.permute(0, 2, 3, 1).reshape(1, -1, 8))
        expected = cells + 0.1 * part.attn(cells, text)
        torch.testing.assert_close(changed.permute(0, 2, 3, 1).reshape(1, -1, 8), expected)


def test_a_query_with_an_empty_mask_looks_everywhere() -> None:
    predictor = world().network.net.predictor
    assert isinstance(predictor, MaskedPredictor)
    masks = torch.full((2, 3, 8, 8), -5.0)
    masks[0, 1, :4] = 5.0
    hidden = predictor._hidden(masks, torch.zeros(2, 1, 4, 4)).view(2, 4, 3, 4, 4)
    assert hidden[0, :, 1, 2:].all() and not hidden[0, :, 1, :2].any()
    assert not hidden[:, :, [0, 2]].any() and not hidden[1].any()


def test_the_row_of_the_adaptive_prompt() -> None:
    """Task words, task prompt, start, prefix, name, dot, end: the start is not the first."""
    clip = load_clip("RN50-quickgelu", untrained=True)
    prompt = AdaptivePrompt(clip, 16, "semantic segmentation.", 8)
    table = clip.model.token_embedding.weight
    task = inner_tokens(clip, "semantic segmentation.")
    assert len(task) == 5
    words = inner_tokens(clip, "potted plant")
    parts = [table[task], prompt.task_prompt, prompt.start_signal, prompt.prefix_prompt]
    parts += [table[words], prompt.dot_signal, prompt.end_signal]
    row = torch.cat(parts)
    with torch.no_grad():
        expected = read_text(clip.model, row[None], torch.tensor([len(row) - 1]))
        found = prompt(["potted plant"])
    torch.testing.assert_close(found, torch.nn.functional.normalize(expected, dim=-1))
    assert AdaptivePrompt(clip, 16, "panoptic segmentation.", 8).identity() != prompt.identity()
    with pytest.raises(UserError, match="reads 77"):
        prompt(["plant " * 60])


def test_without_a_task_it_is_a_learned_prompt() -> None:
    learner = world().network.net.clip_adapter.prompt_learner
    assert set(learner.state_dict()) == {"prefix_prompt", "start_signal", "end_signal", "pad_signal"}


def test_a_prompt_is_trained_where_that_is_asked_for() -> None:
    def task(**settings: str) -> Any:
        settings = {"batch": "1", "layers": "1", "backbone_share": "0", **settings}
        return plan_training("freeseg", "world-27-9", settings=settings).build(0, 4)

    fixed = task()
    prefix = fixed.net.clip_adapter.prompt_learner.prefix_prompt
    words = fixed.network.clip.model.token_embedding(fixed.network.clip.tokenizer(["a photo of a"])[:, 1:5])
    assert torch.equal(prefix, words[0]) and not fixed.text.requires_grad
    learned = task(prompt_trained="on", task_length="2")
    learned.loss(0)[0].backward()
    assert all(p.grad is not None for p in learned.net.clip_adapter.prompt_learner.parameters())
    with pytest.raises(UserError, match="has 2 tokens, prompt_length is 4"):
        task(prompt_start="a photo")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"interaction_width": "30"}, "interaction_width must be a multiple of 4 and of heads, not 30"),
        ({"pyramid": "50"}, "pyramid must be a multiple of 4 and of heads, not 50"),
        ({"encoder_layers": "0"}, "encoder_layers must be at least 1, not 0"),
        ({"sampling_points": "0"}, "sampling_points must be at least 1, not 0"),
        ({"task_length": "-1"}, "task_length must be at least 0, not -1"),
        ({"ensemble_weight": "1.5"}, "ensemble_weight must lie between 0 and 1, not 1.5"),
    ],
)
def test_sizes_that_cannot_be_are_named(options: dict[str, str], says: str) -> None:
    with pytest.raises(UserError) as caught:
        create("freeseg", "world", untrained=True, **options)
    assert says in str(caught.value)


def test_a_width_of_its_own_for_queries() -> None:
    """Maps are projected only where widths differ, as officially."""
    names = small("freeseg").official_names()
    assert "sem_seg_head.predictor.input_proj.0.weight" in names
    same = small("freeseg", dim=48, pyramid=48).official_names()
    assert not any("predictor.input_proj" in name for name in same)
