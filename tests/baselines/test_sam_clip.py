"""SAM + CLIP: what becomes of regions, the world's mask maker, weights, refusals."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ovbench.baselines.sam_clip.config import Config, check_idle
from ovbench.baselines.sam_clip.fusion import RULES, class_scores, fill_nearest, fuse, to_labels
from ovbench.baselines.sam_clip.looks import LOOKS, look
from ovbench.baselines.sam_clip.maker import MakerSizes, MaskMaker, load_maker
from ovbench.baselines.sam_clip.proposals import PointProposer, Proposer
from ovbench.baselines.sam_clip.regions import Regions, cut, inclusive_boxes, none_of, suppress_masks
from ovbench.baselines.sam_clip.segmenter import SamClip
from ovbench.baselines.sam_clip.training import draw_points, iou

from ovbench.core.errors import UserError
from ovbench.datasets.base import ArrayVideo
from ovbench.engine.training import plan_training
from ovbench.methods.create import create
from ovbench.methods.registry import card
from ovbench.nn.checkpoint import save_weights
from ovbench.nn.clip import load_clip
from ovbench.nn.regions import masked_crop
from ovbench.protocol.vocabulary import Vocabulary

NAMES = Vocabulary(["cat", "dog", "sky"])
CONFIG = Config(proposals="points", clip="tiny", look="crop", rule="confident")


def regions_of(*masks: Any, quality: list[float] | None = None) -> Regions:
    stacked = torch.tensor(np.array(masks), dtype=torch.bool)
    worth = torch.tensor(quality or [1.0] * len(masks))
    return Regions(stacked, worth, torch.ones(len(masks)), inclusive_boxes(stacked))


WIDE = [[1, 1, 1, 0]]
RIGHT = [[0, 1, 1, 0]]
LEFT = [[1, 1, 0, 0]]
PROBS = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]])


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("confident", [2, 1, 1]),  # 0.6 at the left, 0.8 in the middle and right
        ("quality", [0, 0, 0]),  # the first has the best quality, and covers all three
        ("smallest", [2, 1, 1]),  # of the two small ones the first
        ("sum", [0, 1, 1]),  # by hand: [.45+.08, .27+.08, .18+.24], with .06 .48 .06 in the middle
    ],
)
def test_rules_by_hand(rule: str, expected: list[int]) -> None:
    regions = regions_of(WIDE, RIGHT, LEFT, quality=[0.9, 0.6, 0.4])
    scores, covered = class_scores(regions, PROBS, rule)
    assert covered.tolist() == [[True, True, True, False]]
    assert scores.argmax(0)[0, :3].tolist() == expected
    assert torch.equal(scores[:, 0, 3], torch.zeros(3))
    if rule == "sum":
        assert torch.allclose(scores[:, 0, 0], torch.tensor([0.53, 0.35, 0.42]))


@pytest.mark.parametrize("rule", ["confident", "quality", "smallest"])
def test_painting_equals_a_pixel_by_pixel_choice(rule: str) -> None:
    rng = np.random.default_rng(3)
    regions = regions_of(*(rng.random((9, 6, 7)) < 0.4), quality=rng.random(9).round(1).tolist())
    probs = torch.softmax(torch.from_numpy(rng.standard_normal((9, 4))), 1).round(decimals=1)
    values = {
        "confident": probs.amax(1),
        "quality": regions.quality,
        "smallest": -regions.masks.flatten(1).sum(1),
    }[rule].tolist()
    scores, covered = class_scores(regions, probs, rule)
    for y, x in np.ndindex(6, 7):
        here = [i for i in range(9) if regions.masks[i, y, x]]
        assert bool(covered[y, x]) == bool(here)
        if here:
            best = max(here, key=lambda i: (values[i], -i))
            assert torch.equal(scores[:, y, x], probs[best])


def test_uncovered_pixels() -> None:
    regions = regions_of([[1, 0, 0, 0, 0]], [[0, 0, 0, 0, 1]])
    probs = PROBS[:2]
    frame = torch.tensor([0.0, 0.0, 1.0])
    found = {}
    for how in ("nearest", "frame", "abstain"):
        found[how] = to_labels(*fuse(regions, probs, "confident", how, lambda: frame))[0].tolist()
    assert found["nearest"][:2] == [0, 0]
    assert found["nearest"][3:] == [1, 1]
    assert found["frame"] == [0, 2, 2, 2, 1]
    assert found["abstain"] == [0, 255, 255, 255, 1]


def test_nothing_covered_takes_the_frame() -> None:
    regions = regions_of([[0, 0]])
    scores, known = fuse(regions, PROBS[:1], "sum", "nearest", lambda: torch.tensor([0.0, 1.0, 0.0]))
    assert to_labels(scores, known).tolist() == [[1, 1]]


def test_nearest_equals_brute_force() -> None:
    rng = np.random.default_rng(5)
    covered = torch.from_numpy(rng.random((7, 9)) < 0.15)
    scores = torch.where(covered, torch.arange(63).reshape(7, 9), -1)[None].float()
    filled = fill_nearest(scores, covered)[0]
    places = covered.nonzero()
    for y, x in np.ndindex(7, 9):
        distance = ((places - torch.tensor([y, x])) ** 2).sum(1)
        taken = (places * torch.tensor([9, 1])).sum(1)[distance == distance.min()]
        assert int(filled[y, x]) in taken.tolist()


def test_cut_and_stability_by_hand() -> None:
    logits = torch.tensor([[[2.0, 0.5, -0.5, -2.0]], [[2.0, 2.0, -2.0, -2.0]], [[-9.0, -9.0, -9.0, -9.0]]])
    kept = cut(logits, torch.tensor([0.3, 0.2, 0.1]), 0.5, 1.0)
    assert kept.quality.tolist() == pytest.approx([0.2])  # the first is 1 of 3 stable, the last empty
    assert kept.masks.tolist() == [[[True, True, False, False]]]
    assert kept.boxes.tolist() == [[0, 0, 1, 0]]
    assert len(cut(logits, torch.zeros(3), 0.0, 1.0)) == 3


def test_duplicates_by_mask() -> None:
    ring = np.ones((4, 4), bool)
    ring[1:3, 1:3] = False
    regions = regions_of(
        ring, np.ones((4, 4), bool), ring, np.zeros((4, 4), bool), quality=[0.5, 0.6, 0.7, 0.9]
    )
    kept = suppress_masks(regions, regions.quality, 0.8)
    assert kept.quality.tolist() == pytest.approx([0.7, 0.6])  # same box, different masks; the empty one goes


class _Given(Proposer):
    """Fixed regions, and how often a frame was asked for."""

    title = "given"

    def __init__(self, regions: Regions | None) -> None:
        self.model, self.regions, self.asked = torch.nn.Linear(1, 1), regions, 0

    def __call__(self, image: Any) -> Regions:
        self.asked += 1
        return none_of(image.shape[:2], torch.device("cpu")) if self.regions is None else self.regions


@pytest.fixture(scope="module")
def image() -> Any:
    return np.random.default_rng(1).integers(0, 256, (30, 44, 3)).astype(np.uint8)


def halves() -> Regions:
    left = np.zeros((30, 44), bool)
    left[:, :20] = True
    return regions_of(left, ~left, left)


@pytest.mark.parametrize("how", LOOKS)
def test_looks_equal_one_region_at_a_time(how: str, image: Any) -> None:
    clip = load_clip("tiny")
    regions = halves()
    together = look(clip, image, regions, how, 8)
    alone = torch.cat([look(clip, image, regions[torch.tensor([i])], how, 1) for i in range(3)])
    assert torch.allclose(together, alone, atol=1e-5)
    assert torch.allclose(together.norm(dim=1), torch.ones(3), atol=1e-5)
    assert torch.equal(together[0], together[2])


def test_equal_crops_are_encoded_once(image: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    clip, made = load_clip("tiny"), []

    def counted(*given: Any, **named: Any) -> Any:
        made.append(given[2])
        return masked_crop(*given, **named)

    monkeypatch.setattr("ovbench.baselines.sam_clip.looks.masked_crop", counted)
    for how in ("crop", "masked-crop"):
        made.clear()
        look(clip, image, halves(), how, 8)
        assert sorted(made) == [(0, 0, 20, 30), (20, 0, 44, 30)]


@pytest.mark.parametrize("rule", RULES)
def test_scores_are_what_labels_come_from(rule: str, image: Any) -> None:
    segmenter = SamClip(load_clip("tiny"), _Given(halves()), replace(CONFIG, rule=rule))
    segmenter.prepare(NAMES)
    scores, labels = segmenter.scores(image), segmenter.segment_frame(image)
    assert scores.shape == (3, 30, 44)
    assert scores.dtype == np.float32
    assert np.array_equal(scores.argmax(0), labels)
    assert segmenter.scores(image, out_size=(10, 12)).shape == (3, 10, 12)


def test_it_says_that_its_masks_are_not_sams() -> None:
    ours = SamClip(load_clip("tiny"), _Given(None), CONFIG).facts()
    assert ours["remark"] == card("sam-clip").variants["world"].remark != ""
    assert ours["config"]["sam"] is None
    sams = SamClip(load_clip("tiny"), _Given(None), replace(CONFIG, proposals="grid")).facts()
    assert "remark" not in sams and sams["config"]["sam"] == "vit_b"


def test_a_frame_without_regions_is_one_region(image: Any) -> None:
    segmenter = SamClip(load_clip("tiny"), _Given(None), CONFIG)
    segmenter.prepare(NAMES)
    assert len(np.unique(segmenter.segment_frame(image))) == 1


def test_each_wanted_frame_is_asked_for_once(image: Any) -> None:
    proposer = _Given(halves())
    segmenter = SamClip(load_clip("tiny"), proposer, CONFIG)
    segmenter.prepare(NAMES)
    maps = list(segmenter.segment(ArrayVideo([image] * 3)))
    assert proposer.asked == 3
    assert len(maps) == 3


SIZES = MakerSizes(blocks="1,1,1,1", stem_width=8, norm="group", pool=False, res5_stride=1, pyramid=16)


def test_maker_draws_at_the_frames_size() -> None:
    maker = load_maker(SIZES, None)
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3)).astype(np.uint8)
    points = torch.tensor([[0.1, 0.2], [0.9, 0.95]])
    masks, quality = maker.draw(image, points)
    assert masks.shape == (2, 50, 70)
    assert ((quality > 0) & (quality < 1)).all()
    # A point's own feature is most like itself: the mask is highest where the point lies.
    rows, columns = (points[:, 1] * 50).long(), (points[:, 0] * 70).long()
    own = masks[torch.arange(2), rows, columns]
    assert (own >= masks.flatten(1).amax(1) - 1.0).all()


def test_points_of_one_region_give_one_region() -> None:
    config = Config(proposals="points", points_per_side=4, quality=0.0, stability=0.0, nms=0.5)
    proposer = PointProposer(MaskMaker(SIZES), config)
    image = np.zeros((32, 32, 3), np.uint8)
    logits = torch.full((16, 32, 32), -1.0)
    for index in range(16):
        logits[index, :, 16 * (index % 4 // 2) : 16 * (index % 4 // 2) + 16] = 1.0
    proposer.maker.draw = lambda *_: (logits, torch.linspace(0.1, 0.9, 16))  # type: ignore[method-assign]
    found = proposer(image)
    assert len(found) == 2
    assert found.masks.sum(0).unique().tolist() == [1]
    assert found.quality[0] == pytest.approx(0.9)


def test_points_are_drawn_where_targets_are() -> None:
    labels = np.full((6, 8), 255, np.uint8)
    labels[2, 3], labels[4:, :] = 7, 9
    points = draw_points(np.random.default_rng(0), labels, 40)
    taken = labels[points[:, 1], points[:, 0]]
    assert set(taken.tolist()) == {7, 9}
    assert 8 <= (taken == 7).sum() <= 32  # one pixel of 7, sixteen of 9: classes count, not pixels
    assert draw_points(np.random.default_rng(0), np.full((2, 2), 255, np.uint8), 3).tolist() == [[0, 0]] * 3


def test_iou_of_pairs() -> None:
    masks = torch.tensor([[1, 1, 0], [0, 0, 0]], dtype=torch.bool)
    truth = torch.tensor([[0, 1, 1], [0, 0, 0]], dtype=torch.bool)
    assert iou(masks, truth).tolist() == pytest.approx([1 / 3, 0.0])


def test_maker_weights_by_name(tmp_path: Path) -> None:
    maker = load_maker(SIZES, None)
    path = tmp_path / "w.safetensors"
    save_weights(path, maker.state_dict(), {"method": "sam-clip", "config": SIZES.to_json()})
    again = load_maker(SIZES, path)
    assert all(torch.equal(a, b) for a, b in zip(maker.parameters(), again.parameters(), strict=True))
    with pytest.raises(UserError, match="trained with pyramid 16 instead of 24"):
        load_maker(replace(SIZES, pyramid=24), path)
    save_weights(path, maker.state_dict(), {"method": "zegformer"})
    with pytest.raises(UserError, match="weights of 'zegformer'"):
        load_maker(SIZES, path)


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("points_per_side", 0, "at least 1"),
        ("quality", 1.5, "from 0 to 1"),
        ("temperature", -1.0, "at least 0"),
        ("crop_layers", -1, "at least 0"),
        ("rule", "largest", "allowed: confident"),
        ("look", "blurred", "allowed: crop"),
    ],
)
def test_options_out_of_range(option: str, value: Any, said: str) -> None:
    with pytest.raises(UserError) as error:
        create("sam-clip", "world", untrained=True, **{option: value})
    assert said in f"{error.value.what} {error.value.hint}"


IDLE = [
    ("world", {"crop_layers": 2}, "crop_layers has no effect with proposals=points"),
    ("world", {"points_per_batch": 8}, "points_per_batch has no effect"),
    ("world", {"min_region": 30}, "min_region has no effect"),
    ("world", {"sam": "vit_h"}, "sam has no effect"),
    ("vit-h", {"proposals": "points"}, "sam has no effect"),
    ("vit-b", {"pyramid": 96}, "pyramid has no effect with proposals=grid"),
    ("vit-b", {"blocks": "1,1,1,1"}, "blocks has no effect"),
    (
        "vit-b",
        {"proposals": "automatic", "res5_stride": 2},
        "res5_stride has no effect with proposals=automatic",
    ),
    ("world", {"res5_stride": 3}, "res5_stride must be 1 or 2, not 3"),
]


@pytest.mark.parametrize(("variant", "options", "said"), IDLE)
def test_options_without_effect_are_refused(variant: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        create("sam-clip", variant, untrained=True, **options)


def test_what_the_card_says_may_be_said_again() -> None:
    create("sam-clip", "world", crop_layers=0, points_per_batch=64, min_region=0, sam="vit_b")
    every = {**card("sam-clip").options, "proposals": "grid"}
    check_idle("sam-clip", "world", every)
    check_idle("sam-clip", "world", {**every, "blocks": "1,1,1,1"})  # the variant's own value
    check_idle("sam-clip", "vit-h", {**every, "sam": "vit_h", "crop_layers": 2})


def test_a_training_takes_no_option_of_sam() -> None:
    with pytest.raises(UserError, match="crop_layers has no effect"):
        plan_training("sam-clip", "world-27-9", settings={"crop_layers": "2"}).build(0, 1)


@pytest.mark.parametrize("proposals", ["grid", "automatic"])
def test_tidying_without_opencv_is_said_before_anything(
    proposals: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(UserError, match="'opencv-python-headless', which is not installed") as error:
        create("sam-clip", "vit-b", untrained=True, proposals=proposals, min_region=30)
    assert "[flow]" in str(error.value.hint)


def test_sam_of_another_size_is_named(tmp_path: Path) -> None:
    pytest.importorskip("segment_anything")
    from ovbench.baselines.sam_clip.sam import fill_sam

    state = {"image_encoder.pos_embed": torch.zeros(1, 64, 64, 1024)}
    with pytest.raises(UserError, match="weights of SAM vit_l, not vit_b") as error:
        fill_sam(torch.nn.Linear(1, 1), "vit_b", state)
    assert "--variant vit-l" in str(error.value.hint)
