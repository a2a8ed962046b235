"""OV2VSS' release profile beside recordings of the official code: names, every stage, three paths, labels."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from golden_recipes import clip_method_state, moving_frames
from ovbench.baselines.ov2vss.release.head import Far
from ovbench.baselines.ov2vss.release.names import dead_entries
from ovbench.baselines.ov2vss.release.network import ReleaseNetwork, release_scores
from ovbench.baselines.ov2vss.release.predictor import OUTPUT
from torch import Tensor

from ovbench.protocol.templates import load_templates
from ovbench.protocol.vocabulary import Vocabulary

pytestmark = pytest.mark.slow

MEAN, STD = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
FAR, OLDER, NEWER, TARGET = 0, 1, 2, 4


class Case:
    """The recordings, our network with their weights, and what it makes of every frame."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.meta = {n: json.loads((folder / f"{n}.json").read_text()) for n in RECORDINGS}
        self.arrays = {n: np.load(folder / f"{n}.npz", allow_pickle=False) for n in RECORDINGS}
        meta = self.meta["clip5"]
        self.network = ReleaseNetwork()
        state = clip_method_state(folder, meta)
        self.checks = {n: state[n] for n in meta["weight_checks"]["values"]}
        self.network.load_official(state)
        frames = moving_frames(meta["input"])
        planes = ((frames.astype(np.float64) - MEAN) / STD).astype(np.float32).transpose(0, 3, 1, 2)
        self.pixels = torch.from_numpy(np.ascontiguousarray(planes))
        with torch.inference_mode():
            self.maps = [self.network.maps(frame[None]) for frame in self.pixels]
            self.clip = self.network.clip_tokens(self.pixels[TARGET:])
            self.text = self.network.text(Vocabulary(meta["vocabulary"]))
            self.far: Far = self.network.far(self.maps[FAR])
        self.input_size, self.size = tuple(meta["input"]["frames_shape"][-2:]), meta["input"]["ori_shape"]

    def near(self, ours: Tensor, name: str, recording: str = "clip5") -> None:
        """Within the tolerance recorded beside the array; all axes strided as recorded."""
        about = self.meta[recording]["arrays"][name]
        strides = [s for s in about["strides"] if s != "index 0"]
        whole = np.asarray(ours)
        if len(strides) != len(about["strides"]):
            whole = whole[0]
            assert whole.shape == tuple(about["full_shape"][1:])
        else:
            assert whole.shape == tuple(about["full_shape"]), name
        part = whole[tuple(slice(None, None, s) for s in strides)]
        worst = np.abs(part - self.arrays[recording][name]).max()
        assert worst <= about["recommended_atol"], f"{name}: {worst}"

    def same_labels(self, scores: Tensor, name: str, tolerance: str, recording: str) -> None:
        """Labels agree wherever the two best differ by more than twice the tolerance, and nearly everywhere."""
        about = self.meta[recording]["arrays"]
        second, first = scores.sort(dim=0).values[-2:]
        sure = (first - second > 2 * about[tolerance]["recommended_atol"]).numpy()
        labels, recorded = scores.argmax(0).numpy(), self.arrays[recording][name]
        assert np.array_equal(labels[sure], recorded[sure])
        assert (labels == recorded).mean() >= about[name]["recommended_min_agreement"]


RECORDINGS = ("clip5", "clip5_legacy", "fallback")


@pytest.fixture(scope="module")
def case(golden_root: Path) -> Iterator[Case]:
    torch.set_num_threads(1)
    yield Case(golden_root / "ov2vss")


@pytest.fixture
def layout(case: Case, request: pytest.FixtureRequest) -> Iterator[str]:
    corr = case.network.decode_head.predictor.corr
    corr.layout = request.param
    yield corr.layout
    corr.layout = "fixed"


def test_names_and_shapes(case: Case) -> None:
    entries = json.loads((case.folder / "state_dict_names.json").read_text())["entries"]
    official = {name: tuple(shape) for name, shape, _, _ in entries}
    assert len(official) == 1513
    assert case.network.official_names() == official
    status = {name: what for name, _, _, what in entries}
    assert all(status[name].startswith(("dead", "buffer_unused")) for name in dead_entries())
    trained = {name for name, _ in case.network.named_parameters()}
    idle = {name for name in trained if status[name].startswith("dead")}
    assert idle == {"decode_head.predictor.clip_model.logit_scale"}
    assert not trained & set(dead_entries())


def test_weights_are_those_recorded(case: Case) -> None:
    for name, (total, absolute, first) in case.meta["clip5"]["weight_checks"]["values"].items():
        value = case.network.state_dict()[name].double().flatten()
        assert torch.equal(value, case.checks[name].double().flatten())
        np.testing.assert_allclose([value.sum(), value.abs().sum()], [total, absolute], rtol=1e-9)
        np.testing.assert_allclose(value[:3], first, rtol=1e-7)


@torch.inference_mode()
def test_text(case: Case) -> None:
    meta = case.meta["clip5"]
    assert len(load_templates("imagenet80")) == meta["text"]["n_templates"]
    case.near(case.text, "text_features")
    name = meta["comma_name"]
    both = Vocabulary([name], synonyms=[name.split(", ")])
    case.near(case.network.text(both)[0], "text_features_comma")


@torch.inference_mode()
def test_backbone_and_clip(case: Case) -> None:
    maps = case.maps[TARGET]
    case.near(maps[0][0], "c1")
    case.near(maps[3][0], "c4")
    case.near(torch.cat([m[3].mean(1) for m in case.maps]), "c4_all_chmean")
    case.near(case.clip[0].permute(1, 2, 0), "clip_dense")


@torch.inference_mode()
def test_fusion(case: Case) -> None:
    head = case.network.decode_head
    fusion, maps = head.hypercorre_module, case.maps
    older, newer, far = head.grids(maps[OLDER]), head.grids(maps[NEWER]), head.grids(maps[FAR])
    case.near(head.place_vectors("linear_down_c", 4, maps[TARGET][3])[0], "linear_down_c4")
    case.near(fusion.pooling_mhsa_fk1(far[3])[0], "fk1_tokens")
    case.near(fusion.pooling_mhsa_sk1(fusion._read(4, case.far.memory[3], older[3]))[0], "sk1_tokens")
    tokens = [
        fusion.last_tokens(n, fusion.second_memory(n, case.far.memory[n - 1], older[n - 1]), newer[n - 1])
        for n in (1, 2, 3, 4)
    ]
    case.near(tokens[3][0], "f1_tokens")
    case.near(tokens[1][0], "f3_tokens")
    size = tuple(maps[TARGET][0].shape[2:])
    affinities = []
    for n in (4, 3, 2):
        places = head.place_vectors("linear_down_c", n, maps[TARGET][n - 1])
        affinities.append(fusion.affinity(n, places, tokens[n - 1]))
    images = [a[0].T.unflatten(1, size) for a in affinities]
    case.near(images[0], "affinity_s0")
    case.near(images[2], "affinity_s2")
    case.near(fusion.hpn(*affinities, size)[0].T.unflatten(1, size), "affinity_refined")
    case.near(fusion.values(tokens)[0], "value_projected")


@torch.inference_mode()
def test_enhancement(case: Case) -> None:
    head, maps = case.network.decode_head, case.maps
    size = tuple(maps[TARGET][0].shape[2:])
    context = head.context(case.far, maps[OLDER], maps[NEWER], maps[TARGET])
    case.near(context[0].T.unflatten(1, size), "O_t")
    case.near(head.auxiliary(context, size)[0], "aux_logits")
    tokens = head.far_tokens(head.grids(maps[FAR]))
    case.near(tokens[0], "rfe_tokens")
    case.near(head.dsn_head(tokens.mT[:, :, None])[0, :, 0], "dsn_logits")
    case.near(case.far.regions[0].T, "region_vectors")
    case.near(head.mul_attention(context, case.far.regions)[0], "rfe_attention")
    features = head.enhanced(context, case.far.regions, size)
    case.near(features[0], "decoder_guidance")
    case.near(head.predictor.corr.proj_img_1(features)[0], "guidance_rfe")


@torch.inference_mode()
def test_cost_volume(case: Case) -> None:
    predictor = case.network.decode_head.predictor
    refined = case.text + predictor.prompts_generator(case.text, case.clip)
    case.near(refined[0], "text_refined")
    volume = predictor.corr.cosines(case.clip, refined)
    case.near(volume[0], "cost_volume")
    case.near(predictor.corr.conv1(volume[0]), "cost_conv")
    deep = predictor.corr.proj_img_c4(case.network.decode_head.deep(case.maps[TARGET]))
    case.near(deep[0], "guidance_c4")


@torch.inference_mode()
@pytest.mark.parametrize(
    ("layout", "recording"),
    [("fixed", "clip5"), ("legacy", "clip5_legacy"), ("fixed", "fallback")],
    indirect=["layout"],
)
def test_predictor_and_labels(case: Case, layout: str, recording: str) -> None:
    network, maps = case.network, case.maps
    head, target = network.decode_head, maps[TARGET]
    corr, size = head.predictor.corr, tuple(target[0].shape[2:])
    if recording == "fallback":
        case.near(head.fused(target)[0], "linear_fuse", recording)
        half = (size[0] // 2, size[1] // 2)
        features = F.interpolate(head.fused(target), half, mode="bilinear", align_corners=False)
        case.near(features[0], "decoder_guidance", recording)
        case.near(corr.proj_img_1(features)[0], "guidance_rfe", recording)
        logits = network.single(target, case.clip, case.text)
    else:
        context = head.context(case.far, maps[OLDER], maps[NEWER], target)
        features = head.enhanced(context, case.far.regions, size)
        logits = network.target(case.far, maps[OLDER], maps[NEWER], target, case.clip, case.text)
    refined = case.text + head.predictor.prompts_generator(case.text, case.clip)
    guided = corr.guide(corr.cosines(case.clip, refined), corr.proj_img_c4(head.deep(target)))
    decoded = corr.decode(guided, features)
    if layout == "legacy":
        guided = guided.reshape(1, 80, -1, 24, 24).transpose(1, 2)
    case.near(guided[0], "cost_guided", recording)
    case.near(decoded[0], "logits72", recording)
    assert logits.shape[-2:] == (OUTPUT, OUTPUT)
    case.near(logits[0], "logits120", recording)
    _scores(case, logits, recording)


def _scores(case: Case, logits: Tensor, recording: str) -> None:
    square = F.interpolate(logits.sigmoid(), (480, 480), mode="bilinear", align_corners=False)
    case.near(square[0], "scores480", recording)
    at_input = F.interpolate(square, case.input_size, mode="bilinear", align_corners=False)[0]
    case.near(at_input, "scores_input", recording)
    case.same_labels(at_input, "argmax_input", "scores_input", recording)
    scores = release_scores(logits, case.input_size, tuple(case.size))[0]
    case.near(scores, "probs_ori", recording)
    case.same_labels(scores, "argmax_ori", "probs_ori", recording)
