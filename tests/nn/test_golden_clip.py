"""CLIP as the released OV2VSS code runs it, recorded with name-seeded weights: ours agrees."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from golden_recipes import moving_frames

from ovbench.nn.clip import ClipPair, load_clip
from ovbench.nn.dense import dense_features
from ovbench.nn.seeded import named_values
from ovbench.nn.text import encode_texts
from ovbench.protocol.templates import load_templates

GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "golden" / "ov2vss"
PREFIX = "decode_head.predictor.clip_model."


@pytest.fixture(scope="module")
def golden() -> tuple[dict[str, Any], Any]:
    if not (GOLDEN / "clip5.npz").is_file():
        pytest.skip("recordings of the official code are not at ../shared/golden")
    return json.loads((GOLDEN / "clip5.json").read_text()), np.load(GOLDEN / "clip5.npz", allow_pickle=False)


@pytest.fixture(scope="module")
def clip(golden: tuple[dict[str, Any], Any]) -> ClipPair:
    pair = load_clip("ViT-B-16-quickgelu", untrained=True)
    with torch.no_grad():
        for name, tensor in pair.model.state_dict().items():
            tensor.copy_(named_values(PREFIX + name, tuple(tensor.shape), golden[0]["salt"]))
    pair.weights_id = None
    return pair


def test_dense_features(golden: tuple[dict[str, Any], Any], clip: ClipPair) -> None:
    meta, arrays = golden
    mean, std = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
    target = moving_frames(meta["input"])[-1].transpose(2, 0, 1)
    frame = (target.astype(np.float64) - mean[:, None, None]) / std[:, None, None]
    image = F.interpolate(torch.from_numpy(frame.astype(np.float32))[None], (384, 384), mode="bilinear")
    with torch.no_grad():
        ours = dense_features(clip, image, "maskclip")[0].permute(1, 2, 0).numpy()
    assert ours.shape == tuple(meta["arrays"]["clip_dense"]["full_shape"])
    np.testing.assert_allclose(ours[::4, ::4, ::4], arrays["clip_dense"], atol=2e-4)


def test_text_features(golden: tuple[dict[str, Any], Any], clip: ClipPair) -> None:
    meta, arrays = golden
    templates = load_templates("imagenet80")
    joined = "\n".join(templates)
    assert (
        hashlib.sha256(joined.encode()).hexdigest() == meta["text"]["sha256_of_templates_joined_by_newline"]
    )
    for row in (0, 2):  # trash_can, Mobile_phone: underscores and capitals
        texts = [t.replace("{}", meta["vocabulary"][row]) for t in templates[::8]]
        ours = encode_texts(clip, texts).numpy()[:, ::8] / np.sqrt(80)
        np.testing.assert_allclose(ours, arrays["text_features"][row], atol=1e-6)
