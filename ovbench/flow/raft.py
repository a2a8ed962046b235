"""RAFT (Teed and Deng 2020) in torchvision's build, with weights from a local file; nothing is fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ovbench.core.errors import UserError, missing_extra
from ovbench.core.types import Image
from ovbench.metrics.flow import Flow

from .base import ImageFlow

FILES = {
    "raft-small": "raft_small_C_T_V2-01064c6d.pth",
    "raft-large": "raft_large_C_T_SKHT_V2-ff5fadd5.pth",
}
"""The files that torchvision publishes as its default weights."""

UPDATES = 20
"""Iterations, as VSPW's script uses."""

LEAST_SIDE, STEP = 128, 8
"""The network's smallest picture, and what its sides must be multiples of."""


def check_weights(kind: str, path: Path | None) -> Path:
    """The weights file; raises `UserError` that names the file expected where there is none."""
    if path is not None and path.is_file():
        return path
    what = f"there is no weights file for '{kind}' here" if path else f"'{kind}' needs a weights file"
    raise UserError(
        what,
        where=path,
        hint=f"--flow {kind}=PATH with the file {FILES[kind]} (torchvision publishes it), or a safetensors "
        "file of the same names; nothing is downloaded",
    )


class RaftFlow(ImageFlow):
    """torchvision's `raft_small` or `raft_large`.

    Args:
        kind: "raft-small" or "raft-large".
        path: weights, safetensors or a plain state dict.
        threads: of torch on a CPU while it computes; its setting is put back afterwards.
        device: "cpu" or "cuda".

    Raises:
        UserError: torchvision is missing; the weights are not there, damaged or of another network.
    """

    def __init__(self, kind: str, path: Path | None, threads: int = 1, device: str = "cpu") -> None:
        super().__init__()
        weights = check_weights(kind, path)
        try:
            import torch
            from torchvision.models.optical_flow import raft_large, raft_small
        except ModuleNotFoundError as error:
            raise missing_extra("torchvision", "models") from error
        from ovbench.nn.checkpoint import apply, load_weights

        net = raft_small(weights=None) if kind == "raft-small" else raft_large(weights=None)
        apply(net, load_weights(weights)[0])
        self._torch, self._threads, self._device = torch, threads, device
        self._net = net.eval().to(device)

    def prepare(self, image: Image) -> Any:
        """(H, W, 3) uint8 RGB -> (1, 3, H', W') float32 in -1..1, edges repeated on all sides; and H, W."""
        height, width = image.shape[:2]
        pad_y, pad_x = _padding(height), _padding(width)
        padded = np.pad(image, (pad_y, pad_x, (0, 0)), mode="edge")
        tensor = self._torch.from_numpy(padded).permute(2, 0, 1)[None].to(self._device)
        return tensor.float() / 127.5 - 1.0, (height, width)

    def between(self, first: Any, second: Any) -> Flow:
        (one, (height, width)), (two, other) = first, second
        if other != (height, width):
            raise UserError(f"two pictures of one video differ in size: {height}x{width} and {other}")
        before = self._torch.get_num_threads()
        self._torch.set_num_threads(self._threads)
        try:
            with self._torch.inference_mode():
                found = self._net(one, two, num_flow_updates=UPDATES)[-1][0]
        finally:
            self._torch.set_num_threads(before)
        top, left = _padding(height)[0], _padding(width)[0]
        inner = found[:, top : top + height, left : left + width]
        flow: Flow = inner.permute(1, 2, 0).contiguous().cpu().numpy()
        return flow


def _padding(side: int) -> tuple[int, int]:
    """Pixels to add before and after."""
    extra = max(LEAST_SIDE, -(-side // STEP) * STEP) - side
    return extra // 2, extra - extra // 2
