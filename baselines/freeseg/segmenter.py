"""FreeSeg as a method: queries that have heard the names say what their masks show, and CLIP says it too."""

from __future__ import annotations

from ovbench.methods.base import Setup
from ovbench.methods.masks import MaskSegmenter, load_network

from .config import Config
from .network import Network


class FreeSeg(MaskSegmenter[Network]):
    """Labels one frame at a time."""


def build(setup: Setup) -> FreeSeg:
    """Entry point of the method's card."""
    return FreeSeg(load_network(setup, Network, Config.from_options(setup.options)))
