"""FreeSeg together with its CLIP."""

from __future__ import annotations

from torch import Tensor

from ovbench.nn.regionmodel import RegionModel
from ovbench.protocol.vocabulary import Vocabulary

from .config import Config
from .model import Adapter, FreeSegNet


class Network(RegionModel[Config, FreeSegNet]):
    """FreeSeg with its CLIP. Here, unlike elsewhere, masks are enlarged with corners aligned."""

    method = "freeseg"
    clip_names = ("clip_adapter.clip_model.",)
    align_corners = True

    def build(self) -> FreeSegNet:
        """The network; CLIP is part of the weights unless it is the embedded one."""
        return FreeSegNet(self.config, self.towers())

    @property
    def regions(self) -> Adapter:
        """The adapter that looks at regions, the queries' own."""
        return self.net.clip_adapter

    def texts(self, vocabulary: Vocabulary) -> tuple[Tensor, ...]:
        """(K, E) unit vectors, for queries and regions alike."""
        return (self.net.clip_adapter.text(vocabulary),)
