"""zsseg together with its CLIP: two opinions about each mask, and the scores they make."""

from __future__ import annotations

from torch import Tensor

from ovbench.nn.regionmodel import Opinions as Opinions
from ovbench.nn.regionmodel import RegionModel
from ovbench.nn.regionmodel import combine_opinions as combine_opinions
from ovbench.protocol.vocabulary import Vocabulary

from .adapter import Adapter
from .config import Config
from .model import ADAPTERS, ZsSegNet


class Network(RegionModel[Config, ZsSegNet]):
    """zsseg with its CLIP, or two of them."""

    method = "zsseg"
    clip_names = tuple(f"{a}.clip_model." for a in ADAPTERS)

    def build(self) -> ZsSegNet:
        """The network with its adapters; CLIP is part of the weights unless it is the embedded one."""
        return ZsSegNet(self.config, self.towers)

    @property
    def regions(self) -> Adapter:
        """The adapter that looks at regions."""
        return self.net.regions

    def texts(self, vocabulary: Vocabulary) -> tuple[Tensor, ...]:
        """(K, E) unit vectors for queries, and for regions where their adapter is another one."""
        own, regions = self.net.clip_adapter, self.net.regions
        return tuple(a.text(vocabulary) for a in ((own,) if regions is own else (own, regions)))
