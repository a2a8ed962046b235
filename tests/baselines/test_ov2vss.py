"""OV2VSS, paper profile: what looks at what, what can be switched off, what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from ovbench.baselines.ov2vss.clips import clip_indices, farthest  # noqa: E402
from ovbench.baselines.ov2vss.config import Config  # noqa: E402
from ovbench.baselines.ov2vss.fusion import AffinityRefiner, TokenPool, token_grids  # noqa: E402
from ovbench.baselines.ov2vss.language import Carry  # noqa: E402
from ovbench.baselines.ov2vss.model import OV2VSS, FrameFeatures  # noqa: E402
from ovbench.baselines.ov2vss.segmenter import OV2VSSSegmenter  # noqa: E402

import ovbench  # noqa: E402
from ovbench.core.errors import UserError  # noqa: E402
from ovbench.datasets.base import ArrayVideo  # noqa: E402
from ovbench.methods.registry import card  # noqa: E402

NAMES = ["red plain disc", "blue striped wall", "green dotted floor"]


@pytest.fixture(scope="module")
def segmenter() -> OV2VSSSegmenter:
    made = ovbench.create("ov2vss", variant="world", untrained=True)
    assert isinstance(made, OV2VSSSegmenter)
    made.prepare(ovbench.Vocabulary(NAMES))
    return made


def video(length: int, seed: int = 0, size: tuple[int, int] = (96, 160)) -> ArrayVideo:
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (length, size[0] // 8, size[1] // 8, 3), dtype=np.uint8)
    return ArrayVideo(small.repeat(8, axis=1).repeat(8, axis=2))


def changed(source: ArrayVideo, index: int) -> ArrayVideo:
    frames = np.stack([source.image(i) for i in range(len(source))])
    frames[index] = 255 - frames[index]
    return ArrayVideo(frames)


def test_clips_repeat_the_first_frame_before_the_start() -> None:
    assert clip_indices(20) == [11, 14, 17, 20]
    assert clip_indices(0) == [0, 0, 0, 0]
    assert clip_indices(7) == [0, 1, 4, 7]


@pytest.mark.parametrize("length", [1, 2, 9, 10])
def test_the_far_frame_is_the_farthest(length: int) -> None:
    for target in range(length):
        distance = abs(farthest(target, length) - target)
        assert distance == max(abs(i - target) for i in range(length))


def test_token_counts_agree_on_all_scales_of_a_pyramid() -> None:
    grids = token_grids((15, 27), (1, 2, 3, 4))
    pool = TokenPool(8, 4)
    sizes = {pool(torch.randn(1, 8, 15 * k, 27 * k), grids).shape[1] for k in (1, 2, 4, 8)}
    assert len(sizes) == 1


def test_refiner_enlarges_to_the_shallowest_scale() -> None:
    maps = [torch.randn(2, 5, 3, 4), torch.randn(2, 5, 6, 8), torch.randn(2, 5, 12, 16)]
    assert AffinityRefiner(3)(maps).shape == (2, 5, 12, 16)


def test_carried_features_are_a_convex_mixture() -> None:
    torch.manual_seed(0)
    carry = Carry(Config())
    frames = [torch.randn(1, 48, 4, 5) for _ in range(4)]
    clip = [torch.rand(1, 64, 4, 5) for _ in range(4)]
    mixed = carry(torch.randn(1, 48, 4, 5), frames, clip)
    stacked = torch.stack(clip).amax(dim=(0, 3, 4)), torch.stack(clip).amin(dim=(0, 3, 4))
    assert (mixed <= stacked[0][..., None, None] + 1e-5).all()
    assert (mixed >= stacked[1][..., None, None] - 1e-5).all()


@pytest.mark.parametrize("past", [3, 6, 9])
def test_each_frame_of_the_clip_is_looked_at(segmenter: OV2VSSSegmenter, past: int) -> None:
    plain = video(14)
    before = segmenter.scores(plain, 12)
    assert np.abs(before - segmenter.scores(changed(plain, 12 - past), 12)).max() > 1e-6
    assert np.array_equal(before, segmenter.scores(changed(plain, 11), 12))


def test_far_frame_matters_and_can_be_switched_off() -> None:
    plain = video(14)
    for switch, differs in ((True, True), (False, False)):
        made = ovbench.create("ov2vss", variant="world", untrained=True, random_frame=switch)
        made.prepare(ovbench.Vocabulary(NAMES))
        same = np.array_equal(made.scores(plain, 12), made.scores(changed(plain, 0), 12))
        assert same is not differs


def test_temporal_off_sees_one_frame() -> None:
    made = ovbench.create("ov2vss", variant="world", untrained=True, temporal=False, random_frame=False)
    made.prepare(ovbench.Vocabulary(NAMES))
    plain = video(14)
    alone = ArrayVideo(plain.image(12)[None])
    assert np.allclose(made.scores(plain, 12), made.scores(alone, 0), atol=1e-5)


@pytest.mark.parametrize(
    "switch", ["temporal", "random_frame", "refine", "carry", "video_text", "position_cue"]
)
def test_every_switch_changes_the_result(segmenter: OV2VSSSegmenter, switch: str) -> None:
    made = ovbench.create("ov2vss", variant="world", untrained=True, **{switch: False})
    made.prepare(ovbench.Vocabulary(NAMES))
    assert not np.array_equal(made.scores(video(14), 12), segmenter.scores(video(14), 12))


def test_a_class_score_does_not_depend_on_the_other_names(segmenter: OV2VSSSegmenter) -> None:
    plain = video(3)
    whole = segmenter.scores(plain, 2)
    other = OV2VSSSegmenter(segmenter.network)
    other.prepare(ovbench.Vocabulary([NAMES[2], NAMES[0]]))
    part = other.scores(plain, 2)
    assert np.allclose(part[0], whole[2], atol=1e-4) and np.allclose(part[1], whole[0], atol=1e-4)


def test_streaming_equals_frame_by_frame(segmenter: OV2VSSSegmenter) -> None:
    plain = video(13)
    streamed = list(segmenter.segment(plain))
    for index in (0, 2, 5, 12):
        assert np.array_equal(streamed[index], segmenter.scores(plain, index).argmax(0))


@pytest.mark.parametrize(("length", "size"), [(1, (96, 160)), (2, (64, 200)), (3, (33, 47))])
def test_short_videos_and_other_sizes(segmenter: OV2VSSSegmenter, length: int, size: tuple[int, int]) -> None:
    frames = np.random.default_rng(1).integers(0, 256, (length, *size, 3), dtype=np.uint8)
    maps = list(segmenter.segment(ArrayVideo(frames)))
    assert [m.shape for m in maps] == [size] * length
    assert all(m.dtype == np.uint8 and m.max() < 3 for m in maps)


def test_nothing_passes_from_one_video_to_the_next(segmenter: OV2VSSSegmenter) -> None:
    first = [m.copy() for m in segmenter.segment(video(4, seed=1))]
    list(segmenter.segment(video(4, seed=2)))
    again = list(segmenter.segment(video(4, seed=1)))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))


def test_scores_can_be_had_at_any_size(segmenter: OV2VSSSegmenter) -> None:
    image = video(1).image(0)
    assert segmenter.scores(image).shape == (3, 96, 160)
    large = video(1, size=(160, 240)).image(0)
    assert segmenter.scores(large, resize=False).shape == (3, 160, 240)
    assert not np.allclose(segmenter.scores(large, resize=False), segmenter.scores(large))
    assert segmenter.scores(image, out_size=(50, 70)).shape == (3, 50, 70)
    assert segmenter.scores(image).dtype == np.float32
    assert segmenter.scores(image, False, (17, 19)).shape == (3, 17, 19)


def test_use_before_prepare_and_wrong_images_are_named() -> None:
    made = ovbench.create("ov2vss", variant="world", untrained=True)
    with pytest.raises(UserError, match="no vocabulary yet"):
        made.scores(video(1))
    made.prepare(ovbench.Vocabulary(NAMES))
    with pytest.raises(UserError, match="uint8 RGB"):
        made.scores(np.zeros((96, 160), np.uint8))


def test_weights_of_another_variant_are_refused() -> None:
    shipped = next(w for w in card("ov2vss").weights if w.variant == "image")
    with pytest.raises(UserError, match="variant 'image'"):
        ovbench.create("ov2vss", variant="world", weights=shipped.file)


def test_training_on_unseen_classes_shows_in_the_facts(segmenter: OV2VSSSegmenter) -> None:
    made = OV2VSSSegmenter(segmenter.network)
    segmenter.network.trained_on = (NAMES[0], NAMES[1])
    made.prepare(ovbench.Vocabulary(NAMES, seen=[True, False, False]))
    segmenter.network.trained_on = ()
    assert f"unseen in this protocol: {NAMES[1]}." in made.facts()["remark"]


def test_weights_come_back_by_name(segmenter: OV2VSSSegmenter) -> None:
    names = segmenter.official_names()
    state = segmenter.network.state_dict()
    assert names == {k: tuple(v.shape) for k, v in state.items()}
    segmenter.load_official(state)
    with pytest.raises(UserError, match="missing"):
        segmenter.load_official({k: v for k, v in state.items() if "decoder" not in k})
    with pytest.raises(UserError, match="unexpected"):
        segmenter.load_official({**state, "net.more": torch.zeros(1)})
    before = segmenter.scores(video(3), 2)
    segmenter.load_official({"state_dict": {f"module.{k}": v.numpy() for k, v in state.items()}})
    assert np.array_equal(segmenter.scores(video(3), 2), before)


def test_gradients_reach_every_parameter() -> None:
    torch.manual_seed(0)
    config = dataclasses.replace(Config(), cost_residual=False)
    net = OV2VSS(config)
    frames = [
        FrameFeatures(net.scales(torch.randn(2, 3, 96, 160)), torch.randn(2, 64, 12, 20)) for _ in range(5)
    ]
    output = net(net.regions(frames[0]), frames[1:], torch.randn(4, 6, 64), auxiliary=True)
    (output.logits.square().mean() + output.auxiliary.square().mean()).backward()
    silent = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # A key's bias shifts all logits of a softmax row alike, hence has no effect.
    assert [n for n in silent if n != "carry.key.bias" and "in_proj_bias" not in n] == []


def test_closed_set_never_names_an_unseen_class() -> None:
    made = ovbench.create("ov2vss", variant="world", untrained=True, text="learned", seen=2)
    made.prepare(ovbench.Vocabulary(NAMES, seen=[True, False, True]))
    maps = np.stack(list(made.segment(video(3))))
    assert not (maps == 1).any()


def test_permuted_text_gives_each_class_another_ones_text(segmenter: OV2VSSSegmenter) -> None:
    made = OV2VSSSegmenter(segmenter.network, text_shuffle=1)
    made.prepare(ovbench.Vocabulary(NAMES))
    plain, moved = segmenter.scores(video(2), 1), made.scores(video(2), 1)
    for k in range(3):
        matches = [j for j in range(3) if np.allclose(moved[k], plain[j], atol=1e-4)]
        assert matches and k not in matches


def test_a_word_the_world_never_read_is_named() -> None:
    made = ovbench.create("ov2vss", variant="world", untrained=True)
    with pytest.raises(UserError, match="zebra"):
        made.prepare(ovbench.Vocabulary(["red zebra"]))


def test_sizes_that_do_not_parse_are_refused() -> None:
    with pytest.raises(UserError, match="input_size"):
        ovbench.create("ov2vss", variant="world", untrained=True, input_size="big")


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["sam-vit-b", "resnet101"])
def test_full_size_runs_from_the_same_code(variant: str) -> None:
    made = ovbench.create(
        "ov2vss", variant=variant, untrained=True, input_size="240x432", template_set="imagenet80"
    )
    assert made.untrained
    made.prepare(ovbench.Vocabulary(["road", "traffic light"]))
    maps = list(made.segment(video(2, size=(120, 216))))
    assert [m.shape for m in maps] == [(120, 216)] * 2


def test_training_at_full_size_asks_for_a_pretrained_clip(tmp_path: Path) -> None:
    from make_trees import make_vspw

    from ovbench.engine.training import plan_training

    make_vspw(tmp_path, videos={"a": 3}, split="train")
    plan = plan_training("ov2vss", "vspw-80-44", data_root=tmp_path)
    with pytest.raises(UserError, match="clip_weights"):
        plan.build(0, 1)


def test_ratios_that_do_not_parse_are_refused() -> None:
    with pytest.raises(UserError, match="pool_ratios"):
        ovbench.create("ov2vss", variant="world", untrained=True, pool_ratios="2,x")
