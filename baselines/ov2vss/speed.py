"""How fast and how precisely a network is run; nothing here changes what it computes by default."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import torch

from ovbench.core.errors import UserError, unknown

PRECISIONS = ("fp32", "bf16", "fp16")
_BATCH_GPU = 8

Call = TypeVar("Call", bound=Callable[..., Any])


@dataclass(frozen=True)
class Speed:
    """The options that both profiles share.

    Attributes:
        streaming: off computes every clip from its frames, as the released code does.
        precision: "bf16" runs everything under autocast. "fp16" runs the backbone and CLIP alone under it: the
            fusion multiplies hundreds of terms without normalising, which leaves the range of half precision.
        compile: `torch.compile` of backbone and CLIP. Last digits may differ from the default then.
        frame_batch: frames whose features are computed together; 0: one on a CPU, eight on a GPU.
    """

    streaming: bool = True
    precision: str = "fp32"
    compile: bool = False
    frame_batch: int = 0

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Speed:
        """Raises `UserError` for an unknown precision or a negative batch."""
        known = {k: options[k] for k in ("streaming", "precision", "compile", "frame_batch") if k in options}
        speed = cls(**known)
        if speed.precision not in PRECISIONS:
            raise unknown("precision", speed.precision, PRECISIONS)
        if speed.frame_batch < 0:
            raise UserError(f"frame_batch must be 0 (by device) or more, not {speed.frame_batch}")
        return speed

    def batch(self, device: torch.device) -> int:
        """Frames of one pass."""
        return self.frame_batch or (_BATCH_GPU if device.type == "cuda" else 1)

    def passes(self, device: torch.device) -> AbstractContextManager[Any]:
        """Around a pass of the backbone or of CLIP."""
        if self.precision == "fp32":
            return nullcontext()
        dtype = torch.bfloat16 if self.precision == "bf16" else torch.float16
        return torch.autocast(device.type, dtype)

    def head(self, device: torch.device) -> AbstractContextManager[Any]:
        """Around what follows."""
        return self.passes(device) if self.precision == "bf16" else nullcontext()

    def compiled(self, call: Call, device: torch.device) -> Call:
        """`call`, compiled where that is asked for.

        Raises:
            UserError: `torch.compile` does not work on this machine.
        """
        if not self.compile:
            return call
        _probe(device.type)
        return torch.compile(call)  # type: ignore[return-value]


@lru_cache(maxsize=2)
def _probe(device: str) -> None:
    """Compile something small, so that a machine without a compiler says so before any work is done."""

    def small(x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x * 2 + 1)

    try:
        torch.compile(small)(torch.zeros(8, device=device))
    # What may go wrong between Python's bytecode and a foreign compiler has no common class.
    except Exception as error:
        reason = str(error).strip().splitlines()[:1]
        raise UserError(
            f"torch.compile does not work here: {reason[0] if reason else type(error).__name__}",
            where=f"device {device}, torch {torch.__version__}",
            hint="leave compile off (the default), or install a C++ compiler (on a GPU also triton)",
        ) from error
