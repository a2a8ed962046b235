"""What is particular to a method's training: DeOP's second part, prompts, and which text the criterion sees."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from ovbench.baselines.deop.training import assembled_loss

from ovbench.core.errors import UserError
from ovbench.engine.targets import IGNORE
from ovbench.engine.training import plan_training


def _task(method: str, **settings: str) -> Any:
    layers = "3" if method == "san" else "2"  # SAN has a block for each of CLIP's maps
    return plan_training(method, "world-27-9", settings={"batch": "1", "layers": layers, **settings}).build(
        0, 4
    )


def test_assembled_loss_by_hand() -> None:
    """One query, one class and "no object", two pixels of which one has no target."""
    logits = torch.tensor([[[math.log(3.0), 0.0]]])  # 3/4 and 1/4
    masks = torch.zeros(1, 1, 1, 2)  # a half everywhere
    labels = torch.tensor([[[0, IGNORE]]], dtype=torch.uint8)
    focal, dice = assembled_loss(logits, masks, labels)
    one, other = (1 / (1 + math.exp(-3 * (s - 1))) for s in (0.375, 0.125))

    def term(right: float, weight: float) -> float:
        return -weight * (1 - right) ** 2 * math.log(right)

    # class 0 at the labelled pixel, class 0 at the other, "no object" at the labelled, at the other
    parts = [term(one, 0.25), term(1 - one, 0.75), term(1 - other, 0.75), term(other, 0.25)]
    assert focal.item() == pytest.approx(sum(parts) / 4, rel=1e-5)
    assert dice.item() == pytest.approx(1 - (2 * one + 1) / (2 * one + 1 + 1), rel=1e-5)


def test_assembled_loss_rewards_the_right_name() -> None:
    masks = torch.full((1, 2, 4, 4), -9.0)
    masks[0, 0, :2] = masks[0, 1, 2:] = 9.0
    labels = torch.zeros(1, 8, 8, dtype=torch.uint8)
    labels[0, 4:] = 1
    right, wrong = torch.zeros(1, 2, 3), torch.zeros(1, 2, 3)
    right[0, 0, 0] = right[0, 1, 1] = wrong[0, 0, 1] = wrong[0, 1, 0] = 9.0
    assert all(
        a < b
        for a, b in zip(
            assembled_loss(right, masks, labels), assembled_loss(wrong, masks, labels), strict=True
        )
    )


def test_masks_stay_in_deops_second_part() -> None:
    task = _task("deop", mask_share="0.5", backbone_share="0")
    assert task.parts == (0, 0, 2, 4) and task.learning_rate(2) == task.learning_rate(0)
    task.loss(0)[0].backward()
    first = {n for n, p in task.net.named_parameters() if p.grad is not None}
    task.module.zero_grad(set_to_none=True)
    task.loss(2)[0].backward()
    second = {n for n, p in task.net.named_parameters() if p.grad is not None}
    shared = {"clip_adapter.non_object_embedding"}
    assert first & second == shared
    assert all(n.startswith(("backbone.", "sem_seg_head.")) for n in first - shared)
    assert {n.partition(".")[0] for n in second - shared} == {"decoder", "query_embedding", "clip_adapter"}
    assert not task.net.backbone.training and task.net.decoder.training


def test_a_prompt_starts_from_words() -> None:
    task = _task("deop")
    prompt = task.net.clip_adapter.prompt_learner
    words = task.network.clip.model.token_embedding(task.network.clip.tokenizer(["a photo of a"])[:, 1:5])[0]
    assert torch.equal(prompt.prefix_prompt, words) and not prompt.prefix_prompt.requires_grad
    assert not task.text.requires_grad
    learned = _task("deop", prompt_trained="on")
    assert learned.text.requires_grad
    with pytest.raises(UserError, match="has 2 tokens, prompt_length is 4"):
        _task("deop", prompt_start="a photo")


@pytest.mark.parametrize("method", ["zegformer", "zsseg", "deop", "freeseg", "san"])
def test_the_criterion_sees_seen_names_alone(method: str) -> None:
    task = _task(method)
    found = task.predict(task.draw(0))
    said = (
        3 if method == "freeseg" else 2
    )  # FreeSeg also before its first layer, SAN after its last two blocks
    assert found.logits.shape[-1] == 27 + 1 and found.logits.shape[0] == said
    assert task.text.shape[0] == 27 and not task.text.requires_grad
    assert all(int(t.labels.max()) < 27 for step in range(3) for t in task.truths(task.draw(step)))


def test_a_learned_prompt_of_zsseg_is_trained() -> None:
    task = _task("zsseg", prompt="learned", prompt_length="4")
    task.loss(1)[0].backward()
    assert task.net.clip_adapter.prompt_learner.prefix_prompt.grad is not None
    with pytest.raises(UserError, match="region_prompt=same"):
        _task("zsseg", region_prompt="learned")
