"""A small training for the tests of the loop; run as a script it trains into the folder it is given."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import nn

from ovbench.engine.train import train


class TinyTask:
    """Linear regression with batch statistics and dropout, so that buffers and torch's generator matter."""

    clip_norm = 1.0

    def __init__(self, seed: int, steps: int, rate: float = 0.05) -> None:
        torch.manual_seed(seed)
        self.seed, self.steps, self.rate = seed, steps, rate
        self.module = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 1))

    def optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.module.parameters(), lr=self.rate)

    def learning_rate(self, step: int) -> float:
        return 1 - step / self.steps

    def loss(self, step: int) -> tuple[torch.Tensor, dict[str, float]]:
        generator = torch.Generator().manual_seed(self.seed * 100_003 + step)
        x = torch.randn(16, 6, generator=generator)
        loss = (self.module(x)[:, 0] - x.sum(1)).square().mean()
        return loss, {"square": float(loss.detach())}

    def metadata(self) -> dict[str, str]:
        return {"method": "tiny", "seed": str(self.seed), "steps": str(self.steps), "variant": ""}


if __name__ == "__main__":
    out, steps, stop = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])

    def progress(done: int, entry: object) -> None:
        if done == stop:
            import os
            import signal

            os.kill(os.getpid(), signal.SIGKILL)

    torch.set_num_threads(1)
    print(train(TinyTask(3, steps), out, {"method": "tiny"}, seed=3, every=10, progress=progress))
