"""OV2VSS' release profile as a method: a video goes in, the released code's scores come out; what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from golden_recipes import clip_method_state, moving_frames  # noqa: E402
from ovbench.baselines.ov2vss.clips import released_clip, released_far  # noqa: E402
from ovbench.baselines.ov2vss.inputs import input_size, resize_bytes  # noqa: E402
from ovbench.baselines.ov2vss.release.segmenter import ReleaseSegmenter, split_names  # noqa: E402

import ovbench  # noqa: E402
from ovbench.core.errors import UserError  # noqa: E402
from ovbench.datasets.base import ArrayVideo  # noqa: E402
from ovbench.nn.checkpoint import save_weights  # noqa: E402

FAR, NINE, SIX, THREE, TARGET = 10, 0, 3, 6, 9  # frame numbers in a video of 11 frames


def made(**options: Any) -> ReleaseSegmenter:
    segmenter = ovbench.create("ov2vss", variant="release", untrained=True, **options)
    assert isinstance(segmenter, ReleaseSegmenter)
    return segmenter


# -- which frames ----------------------------------------------------------------------------------------------


def test_early_frames_take_fixed_substitutes() -> None:
    assert [released_clip(t) for t in (0, 1, 2)] == [(0,), (1,), (2,)]
    assert released_clip(3) == (0, 1, 2, 3) and released_clip(5) == (0, 2, 4, 5)
    assert released_clip(8) == (0, 3, 6, 8) and released_clip(9) == (0, 3, 6, 9)
    for t in range(3, 9):
        assert len(set(released_clip(t))) == 4 and released_clip(t)[-1] == t


@pytest.mark.parametrize("length", [4, 10, 11, 40, 41])
def test_the_far_frame_changes_over_too_late(length: int) -> None:
    for t in range(3, length):
        oldest = released_clip(t)[0]
        assert released_far(t, length) == (length - 1 if length - t > oldest else 0)
        if t >= 9:
            assert (released_far(t, length) == 0) == (t >= (length + 9) / 2)
    assert released_far(TARGET, 11) == FAR


# -- sizes -----------------------------------------------------------------------------------------------------


def test_sizes_by_rule() -> None:
    assert input_size("official", (480, 853)) == (576, 1024)
    assert input_size("official", (1080, 1920)) == (576, 1024)
    assert input_size("official", (1024, 2048)) == (512, 1024)
    assert input_size("official", (360, 480)) == (768, 1024)
    assert input_size("native", (480, 853)) == (480, 853)
    assert input_size((320, 448), (480, 853)) == (320, 448)


@pytest.mark.parametrize("before", [(48, 85), (108, 192), (64, 128), (33, 47)])
def test_resizing_is_opencvs_to_the_bit(before: tuple[int, int]) -> None:
    cv2 = pytest.importorskip("cv2")
    image = np.random.default_rng(0).integers(0, 256, (*before, 3), dtype=np.uint8)
    planes = torch.from_numpy(image).permute(2, 0, 1)[None]
    for height, width in ((58, 102), (96, 64), (32, 64), before):
        theirs = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
        ours = resize_bytes(planes, (height, width))[0].permute(1, 2, 0).numpy()
        assert ours.dtype == np.uint8 and np.array_equal(ours, theirs)


def test_commas_separate_words() -> None:
    split = split_names(ovbench.Vocabulary(["sofa, couch", "trash_can"]))
    assert split.synonyms == (("sofa", "couch"), ("trash_can",))
    assert split.names == ("sofa, couch", "trash_can")


@pytest.mark.parametrize("name", [", ", "a, ", ", a", "a, , b"])
def test_empty_words_between_commas_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="has an empty word in it"):
        split_names(ovbench.Vocabulary(["sky", name]))


# -- what is refused -------------------------------------------------------------------------------------------


def test_weights_of_the_other_profile_are_refused_by_name(tmp_path: Path) -> None:
    header = {"method": "ov2vss", "profile": "paper", "variant": "world"}
    save_weights(tmp_path / "paper.safetensors", {"x": torch.zeros(1)}, header)
    with pytest.raises(UserError, match="profile 'paper', not of 'release'"):
        ovbench.create("ov2vss", variant="release", weights=tmp_path / "paper.safetensors")
    save_weights(
        tmp_path / "release.safetensors", {"x": torch.zeros(1)}, {"method": "ov2vss", "profile": "release"}
    )
    with pytest.raises(UserError, match="profile 'release', not of 'paper'"):
        ovbench.create("ov2vss", variant="world", weights=tmp_path / "release.safetensors")
    save_weights(tmp_path / "deop.safetensors", {"x": torch.zeros(1)}, {"method": "deop"})
    with pytest.raises(UserError, match="weights of 'deop'"):
        ovbench.create("ov2vss", variant="release", weights=tmp_path / "deop.safetensors")


@pytest.mark.parametrize("option", [{"backbone": "resnet101"}, {"refine": False}, {"width": 64}])
def test_options_of_the_paper_profile_are_refused(option: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"does not know the option '{next(iter(option))}'"):
        made(**option)


def test_the_profile_is_chosen_by_its_variant() -> None:
    with pytest.raises(UserError, match="variant of its own"):
        ovbench.create("ov2vss", variant="world", untrained=True, profile="release")
    with pytest.raises(UserError, match="'release' is the profile 'release', it cannot be 'paper'"):
        made(profile="paper")
    assert ovbench.create("ov2vss", "world", untrained=True, profile="paper").facts()["profile"] == "paper"
    with pytest.raises(UserError, match="corr_layout"):
        ovbench.create("ov2vss", variant="world", untrained=True, corr_layout="legacy")
    with pytest.raises(UserError, match="'official', or be 'native'"):
        made(input_size="big")


# -- the released code's scores --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recordings(golden_root: Path) -> dict[str, Any]:
    folder = golden_root / "ov2vss"
    names = ("clip5", "clip5_legacy", "fallback")
    found = {n: (json.loads((folder / f"{n}.json").read_text()), np.load(folder / f"{n}.npz")) for n in names}
    meta = found["clip5"][0]
    return {"found": found, "state": clip_method_state(folder, meta), "frames": moving_frames(meta["input"])}


@pytest.fixture(scope="module")
def golden(recordings: dict[str, Any]) -> ReleaseSegmenter:
    segmenter = made()
    segmenter.load_official(recordings["state"])
    assert not segmenter.untrained
    segmenter.prepare(ovbench.Vocabulary(recordings["found"]["clip5"][0]["vocabulary"]))
    return segmenter


def placed(frames: np.ndarray, early: bool) -> ArrayVideo:
    """The recording's frames where the clip of frame 9 finds them; or two frames, too few for a clip."""
    if early:
        return ArrayVideo(frames[[4, 0]])
    video = np.full((11, *frames.shape[1:]), 127, np.uint8)
    video[[FAR, NINE, SIX, THREE, TARGET]] = frames
    return ArrayVideo(video)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["clip5", "clip5_legacy", "fallback"])
def test_scores_are_the_released_codes(
    golden: ReleaseSegmenter, recordings: dict[str, Any], name: str
) -> None:
    meta, arrays = recordings["found"][name]
    golden.network.decode_head.predictor.corr.layout = "legacy" if name == "clip5_legacy" else "fixed"
    early = name == "fallback"
    video, target = placed(recordings["frames"], early), 0 if early else TARGET
    about = meta["arrays"]["probs_ori"]
    scores = golden.scores(video, target, resize=False, out_size=meta["input"]["ori_shape"])
    recorded = arrays["probs_ori"]
    strided = scores[tuple(slice(None, None, s) for s in about["strides"])]
    assert np.abs(strided - recorded).max() <= about["recommended_atol"]
    second, first = np.sort(scores, axis=0)[-2:]
    clear = first - second > 2 * about["recommended_atol"]
    assert np.array_equal(scores.argmax(0)[clear], arrays["argmax_ori"][clear])
