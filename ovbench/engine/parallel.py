"""Several processes that train one network: `torchrun` starts them, gradients are summed between them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ovbench.core.errors import OvbenchError, UserError

T = TypeVar("T")

_PATIENCE = timedelta(hours=48)  # the others wait while the first process validates
_BUCKET = 1 << 24  # numbers that are summed in one message


@dataclass(frozen=True)
class Ranks:
    """This process among those of the training; `Ranks()` is a training in one process."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0

    def agree(self, decide: Callable[[], T]) -> T:
        """What `decide` gives in the first process, in all of them; its error is raised in all of them."""
        if self.size == 1:
            return decide()
        told: list[Any] = [None, None]
        if self.first:
            try:
                told[0] = decide()
            except OvbenchError as error:
                told[1] = error
        dist.broadcast_object_list(told, src=0)
        if told[1] is not None:
            raise told[1]
        result: T = told[0]
        return result

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Add up the gradients of all processes, in place.

        A parameter without gradient in every process stays without; in some, the others count as 0.
        """
        if self.size == 1:
            return
        trained = [p for p in parameters if p.requires_grad]
        there = torch.tensor(
            [p.grad is not None for p in trained], dtype=torch.int32, device=trained[0].device
        )
        dist.all_reduce(there, op=dist.ReduceOp.MAX)
        reached = [p for p, flag in zip(trained, there.tolist(), strict=True) if flag]
        for bucket in _buckets(reached):
            flat = torch.cat(
                [torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in bucket]
            )
            dist.all_reduce(flat)
            start = 0
            for parameter in bucket:
                values = flat[start : start + parameter.numel()]
                parameter.grad = values.view_as(parameter).clone()
                start += parameter.numel()

    def sum_values(self, values: dict[str, float], device: torch.device) -> dict[str, float]:
        """Add up the numbers of all processes, name by name."""
        if self.size == 1:
            return values
        names = sorted(values)
        kind = torch.float32 if device.type == "mps" else torch.float64
        flat = torch.tensor([values[n] for n in names], dtype=kind, device=device)
        dist.all_reduce(flat)
        return dict(zip(names, flat.tolist(), strict=True))

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            dist.barrier()


def _buckets(parameters: Iterable[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Neighbouring parameters of one type, about `_BUCKET` numbers together."""
    bucket: list[nn.Parameter] = []
    for parameter in parameters:
        full = sum(p.numel() for p in bucket) + parameter.numel() > _BUCKET
        if bucket and (full or bucket[0].dtype != parameter.dtype):
            yield bucket
            bucket = []
        bucket.append(parameter)
    if bucket:
        yield bucket


@contextmanager
def ranks(device: str) -> Iterator[Ranks]:
    """The processes that `torchrun` started (it says so in RANK and WORLD_SIZE); without it, this one alone.

    On GPUs each process takes the one that LOCAL_RANK names.

    Raises:
        UserError: more processes than GPUs.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1 or "RANK" not in os.environ:
        yield Ranks()
        return
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if device == "cuda":
        if local >= torch.cuda.device_count():
            raise UserError(
                f"{torch.cuda.device_count()} GPUs are here, and torchrun started a process for GPU {local}",
                hint="--nproc-per-node must not exceed the number of GPUs; or --device cpu",
            )
        torch.cuda.set_device(local)
    dist.init_process_group("nccl" if device == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


def device_of(module: nn.Module) -> torch.device:
    """Where a network computes."""
    first: Tensor | None = next(module.parameters(), None)
    return torch.device("cpu") if first is None else first.device
