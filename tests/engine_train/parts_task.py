"""A training whose batch can be cut into parts; run as a script it trains into the folder it is given.

python parts_task.py OUT STEPS STOP ACCUMULATE AMP      (under torchrun: in several processes)
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import torch
from torch import nn

from ovbench.engine.parallel import ranks
from ovbench.engine.train import train


class PartsTask:
    """Regression on eight samples of different weight, so that a mean of means would be wrong."""

    clip_norm = 1.0

    def __init__(self, seed: int, steps: int, accumulate: int = 1, amp: str = "off") -> None:
        torch.manual_seed(seed)
        self.seed, self.steps, self.accumulate, self.amp = seed, steps, accumulate, amp
        self.module = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1))
        self.module.unused = nn.Linear(2, 2)  # type: ignore[assignment]

    def optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.module.parameters(), lr=0.05)

    def learning_rate(self, step: int) -> float:
        return 1 - step / self.steps

    def loss(self, step: int) -> tuple[torch.Tensor, dict[str, float]]:
        return self.part_loss(step, 0, 1)

    def part_loss(self, step: int, part: int, parts: int) -> tuple[torch.Tensor, dict[str, float]]:
        generator = torch.Generator().manual_seed(self.seed * 100_003 + step)
        x, weight = torch.randn(8, 6, generator=generator), torch.rand(8, generator=generator)
        share = slice(part * 8 // parts, (part + 1) * 8 // parts)
        out = self.module[2](self.module[1](self.module[0](x[share])))[:, 0].float()
        loss = ((out - x[share].sum(1)).square() * weight[share]).sum() / weight.sum()
        return loss, {"square": float(loss.detach())}

    def metadata(self) -> dict[str, str]:
        return {"method": "parts"}


if __name__ == "__main__":
    out, steps, stop, accumulate, amp = Path(sys.argv[1]), *map(int, sys.argv[2:5]), sys.argv[5]

    def progress(done: int, entry: object) -> None:
        if done == stop:
            os.kill(os.getpid(), signal.SIGKILL)

    torch.set_num_threads(1)
    with ranks("cpu") as here:
        task = PartsTask(3, steps, accumulate, amp)
        train(task, out, {"method": "parts"}, seed=3, every=4, progress=progress, ranks=here)
