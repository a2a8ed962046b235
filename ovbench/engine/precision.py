"""Mixed precision in training: which numbers are halved, and the scale of the loss where that needs one."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from ovbench.core.errors import unknown

AMP = ("off", "bf16", "fp16")
"""off: float32. bf16: autocast. fp16: autocast, and a loss scale that adapts (its state is in the checkpoints)."""

_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Precision:
    """How a training computes; weights and the optimiser's state stay float32."""

    def __init__(self, amp: str, device: torch.device) -> None:
        if amp not in AMP:
            raise unknown("amp", amp, AMP)
        self.amp, self.device = amp, device
        self.scaler = torch.amp.GradScaler(device.type) if amp == "fp16" else None

    def autocast(self) -> AbstractContextManager[Any]:
        """Around the forward pass."""
        if self.amp == "off":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=_TYPES[self.amp])

    def backward(self, loss: torch.Tensor) -> None:
        """Add the loss's gradients, scaled where the precision needs it."""
        scaled = loss if self.scaler is None else self.scaler.scale(loss)
        scaled.backward()  # type: ignore[no-untyped-call]

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        """Gradients at their own scale again; call once all of them are there."""
        if self.scaler is not None:
            self.scaler.unscale_(optimizer)

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """The optimiser's step; left out where a scaled gradient overflowed."""
        if self.scaler is None:
            optimizer.step()
        else:
            self.scaler.step(optimizer)
            self.scaler.update()

    def log(self) -> dict[str, float]:
        """What the log should know."""
        return {} if self.scaler is None else {"scale": float(self.scaler.get_scale())}

    def state(self) -> dict[str, Any]:
        """For the checkpoint; empty where there is nothing."""
        return {} if self.scaler is None else self.scaler.state_dict()

    def load(self, state: dict[str, Any]) -> None:
        """Take up a checkpoint's state."""
        if self.scaler is not None and state:
            self.scaler.load_state_dict(state)
