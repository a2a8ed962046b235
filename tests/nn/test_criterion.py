"""Matching and losses of mask-drawing networks: by hand, by gradient, by symmetry, and where there is nothing."""

from __future__ import annotations

import math
from itertools import permutations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ovbench.core.errors import UserError
from ovbench.nn.criterion import Criterion, Truth, mask_losses
from ovbench.nn.detr import Predictions
from ovbench.nn.matching import Weights, dice_costs, mask_costs, match, pixel_terms
from ovbench.nn.points import Sampling, at_points, choose_points
from ovbench.nn.pretext import naming_loss

KINDS = ("focal", "bce")


def make_truth(labels: list[int], size: tuple[int, int], seed: int = 0, void: bool = False) -> Truth:
    draw = torch.Generator().manual_seed(seed)
    owner = torch.randint(0, max(1, len(labels)), size, generator=draw)
    masks = torch.stack([owner == i for i in range(len(labels))]) if labels else torch.zeros(0, *size).bool()
    valid = torch.rand(size, generator=draw) > 0.3 if void else torch.ones(size).bool()
    return Truth(torch.tensor(labels, dtype=torch.int64), masks, valid)


def make_found(layers: int, batch: int, queries: int, classes: int, size: tuple[int, int]) -> Predictions:
    draw = torch.Generator().manual_seed(7)
    logits = torch.randn(layers, batch, queries, classes + 1, generator=draw, dtype=torch.float64)
    masks = torch.randn(layers, batch, queries, *size, generator=draw, dtype=torch.float64)
    return Predictions(logits.requires_grad_(), masks.requires_grad_())


def test_pixel_terms_by_hand() -> None:
    inside, outside = pixel_terms(torch.tensor([0.0, math.log(3.0)]), "bce")
    assert torch.allclose(inside, torch.tensor([math.log(2), math.log(4 / 3)]))
    assert torch.allclose(outside, torch.tensor([math.log(2), math.log(4)]))
    inside, outside = pixel_terms(torch.tensor([math.log(3.0)]), "focal")  # p = 3/4
    assert inside.item() == pytest.approx(0.25 * 0.25**2 * math.log(4 / 3))
    assert outside.item() == pytest.approx(0.75 * 0.75**2 * math.log(4))
    with pytest.raises(UserError, match="unknown mask loss 'focl'"):
        pixel_terms(torch.zeros(1), "focl")  # type: ignore[arg-type]


def test_costs_by_hand() -> None:
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0]])
    truth = torch.tensor([[1.0, 1.0, 0.0, 0.0]])
    every = torch.ones(4)
    assert mask_costs(logits, truth, every, "bce").item() == pytest.approx(math.log(2))
    assert dice_costs(logits, truth, every).item() == pytest.approx(1 - (2 * 1 + 1) / (2 + 2 + 1))
    half = torch.tensor([1.0, 0.0, 1.0, 0.0])
    assert dice_costs(logits, truth, half).item() == pytest.approx(1 - (2 * 0.5 + 1) / (1 + 1 + 1))
    certain = torch.tensor([[50.0, -50.0, -50.0, 50.0]])  # wrong where nobody looks
    looked = torch.tensor([1.0, 0.0, 1.0, 0.0])
    assert mask_costs(certain, truth, looked, "bce").item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_costs_of_a_pair_are_its_losses(kind: str) -> None:
    logits, truth = torch.randn(3, 20), (torch.rand(3, 20) > 0.5).float()
    valid = (torch.rand(20) > 0.3).float()
    mask, dice = mask_losses(logits, truth, valid.expand(3, -1), kind)  # type: ignore[arg-type]
    assert torch.allclose(mask, mask_costs(logits, truth, valid, kind).diagonal(), atol=1e-6)  # type: ignore[arg-type]
    assert torch.allclose(dice, dice_costs(logits, truth, valid).diagonal(), atol=1e-6)


def test_the_match_is_the_best_of_all() -> None:
    weights = Weights(1.0, 20.0, 1.0)
    for seed in range(5):
        torch.manual_seed(seed)
        classes, masks = torch.randn(5, 4), torch.randn(5, 12)
        truth, labels, valid = (torch.rand(3, 12) > 0.5).float(), torch.tensor([0, 2, 1]), torch.ones(12)
        cost = 20 * mask_costs(masks, truth, valid, "focal") + dice_costs(masks, truth, valid)
        cost = cost - classes.softmax(-1)[:, labels]
        queries, rows = match(classes, masks, labels, truth, valid, weights, "focal")
        best = min(sum(cost[q, n].item() for n, q in enumerate(p)) for p in permutations(range(5), 3))
        assert cost[queries, rows].sum().item() == pytest.approx(best, abs=1e-5)
        assert sorted(rows.tolist()) == [0, 1, 2] and len(set(queries.tolist())) == 3


def test_more_masks_than_queries() -> None:
    truth = make_truth([0, 1, 2, 3], (4, 4))
    queries, rows = Criterion().assign(torch.randn(2, 5), torch.randn(2, 4, 4), truth)
    assert sorted(queries.tolist()) == [0, 1] and len(set(rows.tolist())) == 2


def test_loss_by_hand() -> None:
    """One query, one mask: the parts written out."""
    logits = torch.tensor([[[[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]]])
    masks = torch.zeros(1, 1, 2, 2, 2)
    masks[0, 0, 0] = torch.tensor([[20.0, 20.0], [-20.0, -20.0]])
    truth = Truth(torch.tensor([0]), torch.tensor([[[True, True], [False, False]]]), torch.ones(2, 2).bool())
    total, parts = Criterion(Weights(1, 20, 1), no_object=0.1, mask_loss="bce")(
        Predictions(logits, masks), [truth]
    )
    hit = -math.log(math.e / (math.e + 2))
    assert parts["label"] == pytest.approx((hit + 0.1 * hit) / 1.1)
    assert parts["mask"] == pytest.approx(0, abs=1e-6) and parts["dice"] == pytest.approx(0, abs=1e-6)
    assert total.item() == pytest.approx(parts["label"], abs=1e-5)


@pytest.mark.parametrize("points", [None, Sampling(40)])
def test_every_layer_counts_and_is_matched_by_itself(points: Sampling | None) -> None:
    found = make_found(3, 2, 6, 4, (5, 7))
    truths = [make_truth([0, 3], (10, 14)), make_truth([1, 2, 3], (10, 14), 1)]
    criterion = Criterion(points=points)
    torch.manual_seed(0)
    total, parts = criterion(found, truths)
    torch.manual_seed(0)
    alone = [
        criterion(Predictions(found.logits[i : i + 1], found.masks[i : i + 1]), truths) for i in range(3)
    ]
    assert total.item() == pytest.approx(sum(t.item() for t, _ in alone))
    assert parts == pytest.approx(alone[-1][1])
    total.backward()  # type: ignore[no-untyped-call]
    for gradient in (found.logits.grad, found.masks.grad):
        assert gradient is not None and (gradient.flatten(1).abs().sum(1) > 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_finite_differences(kind: str) -> None:
    found = make_found(1, 2, 4, 3, (3, 4))
    truths = [make_truth([0, 2], (6, 8), void=True), make_truth([1], (6, 8), 2)]
    criterion = Criterion(Weights(2, 5, 5), mask_loss=kind)  # type: ignore[arg-type]

    def loss(logits: Tensor, masks: Tensor) -> Tensor:
        return criterion(Predictions(logits, masks), truths)[0]

    assert torch.autograd.gradcheck(loss, (found.logits, found.masks), eps=1e-6, atol=1e-5)


def test_the_order_of_queries_and_masks_does_not_matter() -> None:
    found = make_found(2, 1, 6, 4, (5, 7))
    truth = make_truth([0, 1, 3], (10, 14), void=True)
    total, _ = Criterion()(found, [truth])
    order, turned = torch.randperm(6), torch.tensor([2, 0, 1])
    other = Truth(truth.labels[turned], truth.masks[turned], truth.valid)
    same, _ = Criterion()(Predictions(found.logits[:, :, order], found.masks[:, :, order]), [other])
    assert same.item() == pytest.approx(total.item(), rel=1e-9)


@pytest.mark.parametrize("points", [None, Sampling(16)])
def test_images_without_masks(points: Sampling | None) -> None:
    found = make_found(2, 2, 3, 4, (4, 4))
    empty, full = make_truth([], (8, 8)), make_truth([1, 2], (8, 8))
    criterion = Criterion(points=points)
    total, parts = criterion(found, [empty, empty])
    total.backward()  # type: ignore[no-untyped-call]
    assert parts["mask"] == parts["dice"] == 0.0
    nothing = F.cross_entropy(found.logits[1].flatten(0, 1), torch.full((6,), 4)).item()
    assert parts["label"] == pytest.approx(nothing)
    assert found.masks.grad is not None and not found.masks.grad.any()
    mixed, _ = criterion(found, [empty, full])
    assert math.isfinite(mixed.item())


def test_void_pixels_do_not_count() -> None:
    found = make_found(1, 1, 3, 4, (8, 8))
    truth = make_truth([0, 2], (8, 8), void=True)
    assert not truth.valid.all()
    total, _ = Criterion()(found, [truth])
    changed = torch.where(truth.valid, found.masks, torch.randn_like(found.masks))
    painted = Truth(truth.labels, truth.masks ^ ~truth.valid, truth.valid)
    same, _ = Criterion()(Predictions(found.logits, changed), [painted])
    assert same.item() == pytest.approx(total.item(), rel=1e-9)


def test_masks_are_divided_by_their_number_in_the_batch() -> None:
    found = make_found(1, 1, 4, 4, (4, 4))
    truth = make_truth([0, 2], (8, 8))
    _, once = Criterion()(found, [truth])
    twice = Predictions(found.logits.repeat(1, 2, 1, 1), found.masks.repeat(1, 2, 1, 1, 1))
    _, again = Criterion()(twice, [truth, truth])
    assert again == pytest.approx(once)


def test_a_loss_that_is_not_a_number_stays_visible() -> None:
    found = make_found(1, 1, 3, 4, (4, 4))
    broken = Predictions(found.logits, found.masks * float("nan"))
    total, _ = Criterion()(broken, [make_truth([0, 1], (4, 4))])
    assert math.isnan(total.item())


def test_points_read_maps_and_prefer_doubt() -> None:
    ramp = torch.arange(4.0).repeat(4, 1)[None]
    centres = torch.tensor([[[0.125, 0.5], [0.625, 0.5], [0.5, 0.5]]])
    assert at_points(ramp, centres).tolist() == [[0.0, 2.0, 1.5]]
    assert at_points(ramp, centres, nearest=True)[0, :2].tolist() == [0.0, 2.0]
    torch.manual_seed(0)
    unsure = torch.full((2, 8, 8), 9.0)
    unsure[:, :, :4] = 0.0  # the left half
    places = choose_points(unsure, Sampling(200, 3.0, 0.75))
    assert places.shape == (2, 200, 2) and places.min() >= 0 and places.max() <= 1
    left = (places[..., 0] < 0.5).float().mean(1)
    assert (left > 0.8).all() and (left < 0.95).all()  # 3/4 and half of the rest


def test_points_agree_with_pixels_on_plain_masks() -> None:
    found = make_found(1, 1, 3, 4, (1, 1))
    flat = Predictions(found.logits, found.masks.expand(-1, -1, -1, 8, 8))
    full = Truth(torch.tensor([1]), torch.ones(1, 8, 8).bool(), torch.ones(8, 8).bool())
    _, pixels = Criterion()(flat, [full])
    _, points = Criterion(points=Sampling(64))(flat, [full])
    assert points["mask"] == pytest.approx(pixels["mask"]) and points["dice"] == pytest.approx(
        pixels["dice"], abs=0.02
    )


def test_naming_every_pixel() -> None:
    draw = torch.Generator().manual_seed(5)
    directions = F.normalize(torch.randn(3, 8, generator=draw), dim=1)
    labels = torch.tensor([[[0, 0, 1, 1], [0, 0, 9, 9]]])
    right = directions[torch.tensor([[0, 1]])].movedim(-1, 1)[:, :, None]  # (1, 8, 1, 2)
    good = naming_loss({"res5": right}, labels, 3, 9, ["res5"])
    bad = naming_loss({"res5": right.flip(3)}, labels, 3, 9, ["res5"])
    assert good < 0.1 < bad
    blind = naming_loss({"res5": right.requires_grad_()}, torch.full((1, 2, 4), 9), 3, 9, ["res5"])
    assert blind.item() == 0 and blind.requires_grad
