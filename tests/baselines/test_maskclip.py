"""MaskCLIP: sizes, windows, names, official weights, and its card."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ovbench.baselines.maskclip.segmenter import MaskClip, build

from ovbench.core.errors import UserError
from ovbench.core.paths import room
from ovbench.datasets.base import ArrayVideo
from ovbench.methods.base import Setup
from ovbench.methods.card import read_card
from ovbench.nn.clip import ClipPair, load_clip
from ovbench.nn.dense import dense_features
from ovbench.nn.text import encode_vocabulary
from ovbench.protocol.vocabulary import Vocabulary

NAMES = Vocabulary(["red disc", "plain sky", "dotted floor"])
OPTIONS = {"model": "world", "mode": "tokens", "short_side": 0, "window": 0, "stride": 0}


@pytest.fixture(scope="module")
def clip() -> ClipPair:
    return load_clip("world", untrained=True)


def _image(h: int, w: int, seed: int = 0) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (h // 16 + 1, w // 16 + 1, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((16, 16, 1), np.uint8))[:h, :w]


def _prepared(clip: ClipPair, **options: object) -> MaskClip:
    method = MaskClip(clip, "tokens", **options)  # type: ignore[arg-type]
    method.prepare(NAMES)
    return method


def test_scores_are_cosines_of_features_and_text(clip: ClipPair) -> None:
    method, image = _prepared(clip), _image(96, 160)
    scores = method.scores(image, out_size=(12, 20))
    with torch.no_grad():
        features = dense_features(clip, clip.normalize(image), "tokens")[0]
        expected = torch.cosine_similarity(
            encode_vocabulary(clip, NAMES)[:, :, None, None], features[None], dim=1
        )
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(96, 160), (97, 123), (50, 40)])
@pytest.mark.parametrize("options", [{}, {"short_side": 64}, {"short_side": 80, "window": 64, "stride": 32}])
def test_label_maps_have_the_frames_size(
    clip: ClipPair, size: tuple[int, int], options: dict[str, int]
) -> None:
    method = _prepared(clip, **options)
    image = _image(*size)
    label_map = method.segment_frame(image)
    assert label_map.shape == size and label_map.dtype == np.uint8 and label_map.max() < 3
    assert np.array_equal(label_map, method.scores(image).argmax(0))
    assert method.scores(image, resize=False, out_size=(7, 9)).shape == (3, 7, 9)


def test_one_window_over_everything_is_the_whole_frame(clip: ClipPair) -> None:
    image = _image(96, 160)
    whole = _prepared(clip).scores(image)
    np.testing.assert_allclose(
        _prepared(clip, window=160, stride=80).scores(image), whole, rtol=1e-4, atol=1e-5
    )


def test_windows_are_averaged(clip: ClipPair) -> None:
    image = _image(64, 96)
    both = _prepared(clip, window=64, stride=32).scores(image)
    single = _prepared(clip)
    left, right = single.scores(image[:, :64]), single.scores(image[:, 32:])
    np.testing.assert_allclose(both[:, :, :32], left[:, :, :32], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(both[:, :, 64:], right[:, :, 32:], rtol=1e-4, atol=1e-5)
    middle = (left[:, :, 32:] + right[:, :, :32]) / 2
    np.testing.assert_allclose(both[:, :, 32:64], middle, rtol=1e-4, atol=1e-5)


def test_resize_false_is_the_same_where_nothing_is_to_be_resized(clip: ClipPair) -> None:
    method, image = _prepared(clip, short_side=64), _image(64, 96)
    assert np.array_equal(method.scores(image), method.scores(image, resize=False))
    assert not np.allclose(method.scores(_image(128, 192)), method.scores(_image(128, 192), resize=False))


def test_the_order_of_the_names_only_permutes_the_scores(clip: ClipPair) -> None:
    image = _image(96, 160)
    scores = _prepared(clip).scores(image)
    other = MaskClip(clip, "tokens")
    other.prepare(Vocabulary([NAMES.names[2], NAMES.names[0], NAMES.names[1]]))
    np.testing.assert_allclose(other.scores(image), scores[[2, 0, 1]], rtol=1e-4, atol=1e-5)


def test_the_best_synonym_counts(clip: ClipPair) -> None:
    image = _image(96, 160)
    method = MaskClip(clip, "tokens")
    method.prepare(Vocabulary(["red disc", "blue sky"]))
    apart = method.scores(image, out_size=(12, 20))
    method.prepare(Vocabulary(["thing", "green wall"], synonyms=[("red disc", "blue sky"), ("green wall",)]))
    np.testing.assert_allclose(method.scores(image, out_size=(12, 20))[0], apart.max(0), rtol=1e-4, atol=1e-5)


def test_a_video_gives_one_map_per_frame_and_keeps_no_state(clip: ClipPair) -> None:
    method = _prepared(clip)
    frames = np.stack([_image(96, 160, seed) for seed in range(3)])
    maps = list(method.segment(ArrayVideo(frames)))
    assert len(maps) == 3
    assert np.array_equal(maps[2], method.segment_frame(frames[2]))


def test_official_names_and_weights() -> None:
    method = build(Setup("maskclip", "world", OPTIONS, untrained=True))
    names = method.official_names()
    assert names["visual.proj"] == (96, 64) and names["text_projection"] == (64, 64)
    method.prepare(NAMES)
    before = method.scores(_image(96, 160))
    state = {
        k: v + 0.3 if k.endswith("in_proj_bias") else v for k, v in method.clip.model.state_dict().items()
    }
    method.load_official(state)
    assert not np.allclose(method.scores(_image(96, 160)), before)
    state.pop("visual.proj")
    with pytest.raises(UserError, match=r"1 missing \(visual\.proj\)"):
        method.load_official(state)


def test_bad_options_and_the_right_order(clip: ClipPair) -> None:
    with pytest.raises(UserError, match="multiple of the patch size 8"):
        MaskClip(clip, window=60, stride=30)
    with pytest.raises(UserError, match="stride"):
        MaskClip(clip, window=64, stride=80)
    with pytest.raises(UserError, match="prepare"):
        MaskClip(clip, "tokens").scores(_image(96, 160))


def test_openai_architecture_with_name_seeded_weights() -> None:
    options = {**OPTIONS, "model": "ViT-B-16-quickgelu", "mode": "maskclip", "short_side": 64}
    method = build(Setup("maskclip", "vit-b-16", options, untrained=True))
    names = method.official_names()
    assert len(names) == 302 and names["visual.positional_embedding"] == (197, 768)
    method.prepare(Vocabulary(["road", "traffic light"]))
    assert method.segment_frame(_image(72, 128)).shape == (72, 128)


def test_the_card_fits_the_code() -> None:
    card = read_card(room("baselines") / "maskclip" / "method.toml")
    assert card.variant_for("world-27-9", "world") == "world" and card.variant_for(None, "vspw") == "vit-b-16"
    assert set(card.options) == set(OPTIONS)
    assert [Path(w.file).name for w in card.weights] == ["weights.safetensors"]


def test_facts_identify_what_was_computed(clip: ClipPair) -> None:
    facts = _prepared(clip).facts()
    assert facts["parameters"] > 500_000 and len(facts["text_sha256"]) == 64
    assert facts["clip_weights"].startswith("name-seeded ")
