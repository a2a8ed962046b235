"""SAM 2 + CLIP: regions of key frames carried through a video, with a small randomly made Sam2VideoModel."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ovbench.core.errors import UserError
from ovbench.datasets.base import ArrayVideo
from ovbench.methods.registry import card
from ovbench.nn.checkpoint import save_weights
from ovbench.nn.clip import load_clip
from ovbench.nn.seeded import fill_by_name
from ovbench.protocol.vocabulary import Vocabulary

pytest.importorskip("transformers", minversion="4.56")

from ovbench.baselines.sam_clip.config import Config
from ovbench.baselines.sam_clip.regions import Regions, inclusive_boxes
from ovbench.baselines.sam_clip.sam2 import Sam2, load_sam2
from ovbench.baselines.sam_clip.video import Sam2Clip

SIDE, WIDTH = 128, 128
CONFIG = Config(points_per_side=5, points_per_batch=16, quality=0.0, stability=0.0, nms=0.9, clip="tiny")
NAMES = Vocabulary(["cat", "dog", "sky"])


def small_model() -> Any:
    """A Sam2VideoModel of a million weights, name-seeded."""
    from transformers import Sam2HieraDetConfig, Sam2VideoConfig, Sam2VideoModel, Sam2VisionConfig
    from transformers.models.sam2_video.configuration_sam2_video import (
        Sam2VideoMaskDecoderConfig,
        Sam2VideoPromptEncoderConfig,
    )

    backbone = Sam2HieraDetConfig(
        hidden_size=8,
        num_attention_heads=1,
        image_size=[SIDE, SIDE],
        blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[8, 16, 32, 64],
        num_attention_heads_per_stage=[1, 2, 4, 8],
        window_size_per_stage=[4, 4, 4, 4],
        global_attention_blocks=[3],
        window_positional_embedding_background_size=[4, 4],
    )
    vision = Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=[64, 32, 16, 8],
        backbone_feature_sizes=[[32, 32], [16, 16], [8, 8]],
        fpn_hidden_size=WIDTH,
    )
    config = Sam2VideoConfig(
        vision_config=vision,
        prompt_encoder_config=Sam2VideoPromptEncoderConfig(
            hidden_size=WIDTH, image_size=SIDE, mask_input_channels=8
        ),
        mask_decoder_config=Sam2VideoMaskDecoderConfig(hidden_size=WIDTH, mlp_dim=64, iou_head_hidden_dim=32),
        image_size=SIDE,
        memory_attention_hidden_size=WIDTH,
        memory_attention_num_layers=1,
        memory_attention_feed_forward_hidden_size=64,
        memory_attention_rope_feat_sizes=[8, 8],
        memory_encoder_hidden_size=WIDTH,
        memory_encoder_output_channels=64,
        mask_downsampler_embed_dim=WIDTH,
        memory_fuser_embed_dim=WIDTH,
        memory_fuser_intermediate_dim=64,
    )
    model = Sam2VideoModel(config)
    fill_by_name(model)
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def sam() -> Sam2:
    return Sam2(small_model(), CONFIG)


@pytest.fixture(scope="module")
def frames() -> list[Any]:
    first = np.random.default_rng(0).integers(0, 256, (60, 90, 3)).astype(np.uint8)
    return [np.roll(first, 3 * shift, axis=1) for shift in range(7)]


def two_regions() -> torch.Tensor:
    masks = torch.zeros(2, 60, 90, dtype=torch.bool)
    masks[0, :30], masks[1, 20:50, 40:80] = True, True
    return masks


def test_following_is_what_the_processor_and_the_model_do(sam: Sam2, frames: list[Any]) -> None:
    from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession
    from transformers.models.sam2_video.processing_sam2_video import Sam2VideoProcessor

    # From 16 frames on the model's memory is weighed alike whether it has the whole video or frame after frame.
    many = [np.roll(frames[0], 3 * shift, axis=1) for shift in range(16)]
    pixels = torch.cat([sam.pixels(image) for image in many])
    session = Sam2VideoInferenceSession(pixels, 60, 90, dtype=torch.float32)
    # The method needs nothing of a processor but the side of its square; a whole one wants files.
    processor: Any = type("Processor", (), {"target_size": SIDE})()
    masks = list(two_regions())
    Sam2VideoProcessor.process_new_mask_for_video_frame(processor, session, 0, [0, 1], masks)
    sam.model(inference_session=session, frame_idx=0)
    with torch.inference_mode():
        found = [out.pred_masks for out in sam.model.propagate_in_video_iterator(session, start_frame_idx=0)]
    ours = list(sam.follow(many, two_regions()))
    assert len(ours) == len(found) == 16
    for own, theirs in zip(ours, found, strict=True):
        large = torch.nn.functional.interpolate(theirs, (60, 90), mode="bilinear", align_corners=False)[:, 0]
        assert torch.equal(own, large > 0)


def test_the_first_frame_keeps_its_regions(sam: Sam2, frames: list[Any]) -> None:
    first = next(iter(sam.follow(frames[:2], two_regions())))
    both = (first & two_regions()).flatten(1).sum(1) / (first | two_regions()).flatten(1).sum(1)
    assert (both > 0.9).all()


def test_points_equal_the_models_own_forward(sam: Sam2, frames: list[Any]) -> None:
    with torch.inference_mode():
        points = torch.tensor([[[[30.0, 40.0]]]])  # its own forward takes one at a time
        masks, quality = sam._ask(sam.model.get_image_embeddings(sam.pixels(frames[0])), points)
        out = sam.model._single_frame_forward(
            pixel_values=sam.pixels(frames[0]), input_points=points, multimask_output=True
        )
    assert torch.allclose(quality, out.iou_scores[0], atol=1e-6)
    best = torch.where(out.object_score_logits[0] > 0, masks[0, quality[0].argmax()], -1024.0)[None]
    assert torch.allclose(best, out.pred_masks[0].reshape(best.shape), atol=1e-5)


class _Scripted:
    """Stands where SAM 2 does, and writes down what it was asked for."""

    def __init__(self) -> None:
        self.keys: list[int] = []
        self.followed: list[int] = []
        self.model = torch.nn.Linear(1, 1)

    def regions(self, image: Any) -> Regions:
        self.keys.append(int(image[0, 0, 0]))
        masks = two_regions()
        return Regions(masks, torch.tensor([0.9, 0.8]), torch.ones(2), inclusive_boxes(masks))

    def follow(self, images: list[Any], masks: torch.Tensor) -> Iterator[torch.Tensor]:
        self.followed.append(len(images))
        for shift in range(len(images)):
            yield masks.roll(shift, dims=2)


def segmenter(sam: Any, every: int = 3, most: int = 8) -> Sam2Clip:
    made = Sam2Clip(load_clip("tiny"), sam, CONFIG, every, most)
    made.prepare(NAMES)
    return made


def numbered(count: int) -> list[Any]:
    images = [np.full((60, 90, 3), 7, np.uint8) for _ in range(count)]
    for index, image in enumerate(images):
        image[0, 0, 0] = index
    return images


def test_key_frames_are_named_and_carried() -> None:
    sam = _Scripted()
    maps = list(segmenter(sam).segment(ArrayVideo(numbered(7))))
    assert len(maps) == 7
    assert sam.keys == [0, 3, 6]
    assert sam.followed == [3, 3, 1]


def test_most_regions_are_carried() -> None:
    carried = []

    class Counting(_Scripted):
        def follow(self, images: list[Any], masks: torch.Tensor) -> Iterator[torch.Tensor]:
            carried.append(len(masks))
            return super().follow(images, masks)

    list(segmenter(Counting(), most=1).segment(ArrayVideo(numbered(2))))
    assert carried == [1]


def test_the_whole_way(sam: Sam2, frames: list[Any]) -> None:
    video = ArrayVideo(frames)
    maps = list(segmenter(sam, every=4).segment(video))
    again = list(segmenter(sam, every=4).segment(video))
    assert [m.shape for m in maps] == [(60, 90)] * 7
    assert all(np.array_equal(a, b) for a, b in zip(maps, again, strict=True))
    # Labels do not depend on later frames.
    begun = list(segmenter(sam, every=4).segment(ArrayVideo(frames[:3])))
    assert all(np.array_equal(a, b) for a, b in zip(maps, begun, strict=False))


def test_a_published_folder_loads(tmp_path: Path, sam: Sam2, frames: list[Any]) -> None:
    sam.model.save_pretrained(tmp_path)
    again = load_sam2(tmp_path / "model.safetensors", CONFIG)
    assert torch.equal(again.regions(frames[0]).masks, sam.regions(frames[0]).masks)


def test_refusals(tmp_path: Path, sam: Sam2) -> None:
    sam.model.save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    config = tmp_path / "config.json"
    kept = json.loads(config.read_text())
    config.write_text(json.dumps({**kept, "model_type": "clip"}))
    with pytest.raises(UserError, match="of a model 'clip', not of SAM 2"):
        load_sam2(weights, CONFIG)
    config.write_text(json.dumps({**kept, "memory_fuser_num_layers": 3}))
    with pytest.raises(UserError, match="do not fit SAM 2: .* missing"):
        load_sam2(weights, CONFIG)
    config.unlink()
    with pytest.raises(UserError, match="no config.json beside"):
        load_sam2(weights, CONFIG)
    with pytest.raises(UserError, match="from model.safetensors, not"):
        load_sam2(tmp_path / "sam2.pt", CONFIG)
    with pytest.raises(UserError, match="must be at least 1"):
        segmenter(_Scripted(), every=0)


SENSELESS: list[dict[str, Any]] = [
    {"mask_decoder_config": {"num_attention_heads": 0}},
    {"image_size": "x"},
    {"vision_config": [1]},
    {"vision_config": {"model_type": "nope"}},
    {"num_maskmem": -1},
    {"image_size": 0},
]


@pytest.mark.parametrize("values", SENSELESS, ids=str)
def test_a_config_without_sense_is_an_error_in_words(
    values: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    save_weights(tmp_path / "model.safetensors", {"a": torch.zeros(1)}, {})
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "sam2_video", **values}))
    with pytest.raises(UserError, match="SAM 2") as caught:
        load_sam2(tmp_path / "model.safetensors", CONFIG)
    assert "config.json beside it" in str(caught.value.hint)
    assert "REPORT" not in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    "values", [{"image_size": 7}, {"image_size": -128}, {"memory_attention_rope_feat_sizes": [3, 5]}], ids=str
)
def test_sizes_that_contradict_each_other(
    values: dict[str, Any], tmp_path: Path, sam: Sam2, frames: list[Any]
) -> None:
    """Names and shapes fit, so that it loads; the first frames say that it cannot be."""
    sam.model.save_pretrained(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **values}))
    loaded = load_sam2(tmp_path / "model.safetensors", CONFIG)
    with pytest.raises(UserError, match="SAM 2 fails with the sizes of this config") as caught:
        loaded.regions(frames[0])
        list(loaded.follow(frames[:2], two_regions()))
    assert caught.value.where == config or str(config) in str(caught.value)


def test_names_that_do_not_fit_are_told_once(
    tmp_path: Path, sam: Sam2, capfd: pytest.CaptureFixture[str]
) -> None:
    from transformers.utils import logging

    sam.model.save_pretrained(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "memory_fuser_num_layers": 3}))
    capfd.readouterr()
    before = logging.get_verbosity()
    with pytest.raises(UserError, match="do not fit SAM 2: .* missing"):
        load_sam2(tmp_path / "model.safetensors", CONFIG)
    assert "".join(capfd.readouterr()) == "" and logging.get_verbosity() == before


def test_card_says_video() -> None:
    assert card("sam2-clip").kind == "video"
    assert card("sam-clip").kind == "image"
