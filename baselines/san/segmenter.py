"""SAN as a method: proposals of a side network, named inside CLIP."""

from __future__ import annotations

from ovbench.methods.base import Setup
from ovbench.methods.masks import MaskSegmenter, load_network

from .config import Config
from .network import Network


class San(MaskSegmenter[Network]):
    """Labels one frame at a time."""


def build(setup: Setup) -> San:
    """Entry point of the method's card."""
    return San(load_network(setup, Network, Config.from_options(setup.options)))
