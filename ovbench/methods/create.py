"""Build a method: from Python by name, or for a run from a resolved selection."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ovbench.core.errors import OvbenchError, UserError, missing_extra
from ovbench.datasets.base import Dataset
from ovbench.protocol.schema import Protocol

from .base import Segmenter, Setup
from .select import Selection, select

_EXTRAS = {
    "models": ("torch", "torchvision", "open_clip", "timm", "safetensors", "segment_anything"),
}


def create(
    name: str,
    variant: str | None = None,
    weights: str | Path | None = None,
    device: str = "cpu",
    untrained: bool | None = None,
    **options: Any,
) -> Segmenter:
    """A method by name, ready for `prepare` and `segment`.

    Args:
        name: as listed by `ovbench methods`; "+vote" or "+flow", and ":variant" may follow.
        weights: a file; without one the shipped weights are used, and without those the network is
            filled with name-seeded numbers and `segmenter.untrained` is True.
        untrained: True for name-seeded weights in any case, False to refuse without weights.
        options: as for `--set`.

    Raises:
        UserError: unknown name, variant or option; weights that do not fit; a missing extra.
    """
    selection = select(name, variant, options, weights, untrained)
    if selection.untrained and untrained is None:
        warnings.warn(
            f"{name} has no weights here: it is filled with numbers made from its parameters' names, and what it "
            "says means nothing (pass weights=FILE, or untrained=True to say that you know)",
            stacklevel=2,
        )
    return build(selection, device=device)


def build(
    selection: Selection,
    *,
    device: str = "cpu",
    protocol: Protocol | None = None,
    open_split: Callable[[str], Dataset] | None = None,
) -> Segmenter:
    """The segmenter of a selection; raises `UserError` when an extra it needs is not installed."""
    card = selection.card
    setup = Setup(
        method=card.id,
        variant=selection.variant,
        options=selection.method_options,
        weights=selection.weights,
        untrained=selection.untrained,
        device=device,
        protocol=protocol,
        open_split=open_split,
        folder=card.folder,
    )
    segmenter: Segmenter = target(card.segmenter, card.needs)(setup)
    if not isinstance(segmenter, Segmenter):
        raise OvbenchError(f"'{card.segmenter}' built no Segmenter but a {type(segmenter).__name__}")
    if selection.wrapper:
        segmenter = selection.wrapper.wrap(segmenter, selection.options)
    segmenter.untrained = selection.untrained
    return segmenter


def target(path: str, needs: tuple[str, ...] = ()) -> Callable[..., Any]:
    """The object at "module:name", imported now; a package that is missing is named with its extra."""
    module_name, _, attribute = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        for extra in needs:
            if package in _EXTRAS.get(extra, ()):
                raise missing_extra(package, extra) from error
        if module_name.startswith(error.name or "?"):
            raise UserError(f"the method's module '{module_name}' does not exist", where=path) from error
        raise
    found = getattr(module, attribute, None)
    if not callable(found):
        raise UserError(f"module '{module_name}' has no callable '{attribute}'", where=path)
    return found  # type: ignore[no-any-return]
