"""Gradient checkpointing: activations of a block are computed again on the way back, not kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint


def recompute(blocks: Iterable[nn.Module]) -> None:
    """Make each block forget its activations, in place; its function, names and gradients stay.

    A block is computed twice in training, hence memory falls to its inputs. Running statistics of batch norms
    are updated the first time only. Nothing changes where no gradients are asked for.
    """
    for block in blocks:
        block.forward = _forgetful(block, block.forward)


def _forgetful(block: nn.Module, forward: Any) -> Any:
    def contexts() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
        return nullcontext(), _statistics_kept(block)

    def run(*args: Any, **kwargs: Any) -> Any:
        return checkpoint(forward, *args, use_reentrant=False, context_fn=contexts, **kwargs)

    return run


@contextmanager
def _statistics_kept(block: nn.Module) -> Iterator[None]:
    norms = [m for m in block.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    buffers = [b for norm in norms for b in norm.buffers()]
    copies = [b.clone() for b in buffers]
    try:
        yield
    finally:
        for own, kept in zip(buffers, copies, strict=True):
            own.data.copy_(kept)  # past autograd, which would take it for a change of something it needs
