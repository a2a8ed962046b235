"""The recipes of the recordings of official codes: weights from names, images and clips from seeds."""

from __future__ import annotations

import hashlib
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

_QUERIES = re.compile(r"(query_feat|query_embed|query_embedding|level_embed)(\.weight)?$")
_KEPT = ("pixel_mean", "pixel_std", "num_batches_tracked")


def named_state(folder: Path, meta: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The state dict that a recording was made with; entries left at their constructed value are zeros."""
    names = json.loads((folder / "state_dict_names.json").read_text())
    return {
        name: _values(name, tuple(shape), meta["salt"], meta["profile"] == "fanin")
        for name, shape, _ in names
    }


def _values(name: str, shape: tuple[int, ...], salt: str, fanin: bool) -> torch.Tensor:
    if name.endswith(_KEPT) or name.startswith("criterion."):
        return torch.zeros(shape)
    if name.endswith("logit_scale"):
        return torch.full(shape, math.log(100))
    if name.endswith("running_var"):
        return torch.ones(shape)
    seed = int.from_bytes(hashlib.sha256((name + salt).encode()).digest()[:8], "big")
    x = np.asarray(np.random.default_rng(seed).standard_normal(shape))
    if name.endswith(".weight") and len(shape) == 1:
        x = 1 + 0.02 * x
    elif fanin and _QUERIES.search(name):
        pass
    elif fanin and len(shape) >= 2:
        x = x / math.sqrt(math.prod(shape[1:]))
    else:
        x = 0.02 * x
    return torch.from_numpy(np.asarray(x, dtype=np.float32))


def block_image(recipe: dict[str, Any]) -> np.ndarray:
    """(H, W, 3) uint8 RGB: coloured blocks with noise."""
    h, w = recipe["h"], recipe["w"]
    rng = np.random.default_rng(recipe["seed"])
    base = rng.integers(0, 256, size=(3, math.ceil(h / 32), math.ceil(w / 32)))
    image = base.repeat(32, axis=1).repeat(32, axis=2)[:, :h, :w]
    image = image + rng.integers(-20, 21, size=(3, h, w))
    return np.ascontiguousarray(image.clip(0, 255).astype(np.uint8).transpose(1, 2, 0))


def clip_method_state(folder: Path, meta: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The state dict of the OV2VSS recordings ("fanin+gains"); what their rules skip is zeros."""
    entries = json.loads((folder / "state_dict_names.json").read_text())["entries"]
    rules = {key.split(" ")[0]: rule for key, rule in meta["fill_rules"].items()}
    gains = [(re.compile(g["pattern"]), float(g["gain"])) for g in rules["gains"]]
    scales = {"0.5*x": 0.5, "0.008*x": 0.008}
    plain = [
        (re.compile(o["pattern"]), scales[o["value"]])
        for o in rules["overrides"]
        if o["pattern"] != "running_var$"
    ]
    state = {}
    for name, shape, dtype, _ in entries:
        if name.endswith(("num_batches_tracked", "attn_mask")) or dtype != "float32":
            state[name] = torch.zeros(shape, dtype=getattr(torch, dtype))
            continue
        x = _normal(name, shape, meta["salt"])
        factor = next((f for pattern, f in plain if pattern.search(name)), None)
        x = _fanin_values(name, x) if factor is None else factor * x
        gain = math.prod(g for pattern, g in gains if pattern.search(name))
        state[name] = torch.from_numpy(np.asarray(gain * x, dtype=np.float32))
    return state


def _normal(name: str, shape: Any, salt: str) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256((name + salt).encode()).digest()[:8], "big")
    return np.asarray(np.random.default_rng(seed).standard_normal(tuple(shape)))


def _fanin_values(name: str, x: np.ndarray) -> np.ndarray:
    if name.endswith("running_var"):
        return 1 + 0.05 * np.abs(x)
    if name.endswith("logit_scale"):
        return np.full(x.shape, math.log(100))
    if name.endswith(".weight") and x.ndim == 1:
        return 1 + 0.02 * x
    return x / math.sqrt(math.prod(x.shape[1:])) if x.ndim >= 2 else 0.02 * x


def moving_frames(recipe: dict[str, Any]) -> np.ndarray:
    """(N, H, W, 3) uint8 RGB: windows of one smooth canvas at the recipe's offsets, with noise."""
    height, width, margin, cell = recipe["h"], recipe["w"], 64, 32
    rng = np.random.default_rng(recipe["seed"])
    tall, wide = height + margin, width + margin
    corners = rng.integers(0, 256, size=(3, tall // cell + 2, wide // cell + 2))
    blocks = rng.integers(0, 256, size=(3, tall // 48 + 1, wide // 48 + 1))
    y, x = np.arange(tall)[:, None], np.arange(wide)[None, :]
    row, column, down, right = y // cell, x // cell, y % cell, x % cell
    smooth = (
        corners[:, row, column] * (cell - down) * (cell - right)
        + corners[:, row, column + 1] * (cell - down) * right
        + corners[:, row + 1, column] * down * (cell - right)
        + corners[:, row + 1, column + 1] * down * right
    ) // (cell * cell)
    canvas = (smooth + blocks[:, y // 48, x // 48]) // 2
    frames = [
        (canvas[:, dy : dy + height, dx : dx + width] + rng.integers(-12, 13, size=(3, height, width)))
        for dy, dx in recipe["offsets"]
    ]
    planes = np.stack(frames).clip(0, 255).astype(np.uint8)
    digest = hashlib.sha256(np.ascontiguousarray(planes).tobytes()).hexdigest()
    assert digest == recipe["sha256_of_all_frames_uint8_C_order"]
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1))


def recorded_value(name: str, rule: dict[str, Any]) -> torch.Tensor:
    """A parameter of the SAN and zsseg recordings by their recipe, with its two self-checks."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    z = np.random.default_rng(seed).standard_normal(rule["shape"])
    value = torch.from_numpy(np.asarray(rule["mean"] + rule["std"] * z, dtype=np.float32))
    flat = value.flatten().double()
    assert float(flat[0]) == rule["first"]
    assert abs(float(flat.sum()) - rule["sum"]) <= 1e-6 * max(1.0, float(flat.abs().sum()))
    return value


def recorded_image(seed: int, size: list[int], sha256: str) -> np.ndarray:
    """(H, W, 3) uint8 RGB of the SAN and zsseg recordings: coloured blocks with noise."""
    height, width = size
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (height // 32, width // 32, 3)).repeat(32, 0).repeat(32, 1)
    image = np.clip(blocks + rng.integers(-24, 25, (height, width, 3)), 0, 255).astype(np.uint8)
    assert hashlib.sha256(image.tobytes()).hexdigest() == sha256
    return image
