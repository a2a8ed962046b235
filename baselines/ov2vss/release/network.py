"""The network of OV2VSS' official code, `release` profile: one function, one set of names, target row only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovbench.core.errors import unknown
from ovbench.nn.checkpoint import apply
from ovbench.nn.clip import fresh_clip, hash_state
from ovbench.nn.dense import dense_features
from ovbench.nn.seeded import fill_by_name
from ovbench.nn.text import encode_templates
from ovbench.protocol.templates import load_templates
from ovbench.protocol.vocabulary import Vocabulary

from .backbone import Backbone
from .head import DecodeHead, Far
from .names import dead_entries
from .predictor import CorrLayout

__all__ = ["Far", "ReleaseNetwork", "release_scores"]

CLIP = "ViT-B-16-quickgelu"
CLIP_INPUT = (384, 384)
LAYOUTS = ("fixed", "legacy")


class ReleaseNetwork(nn.Module):
    """The official function with the official names; `names.dead_entries` lists what is absent.

    Every method takes batches; a frame's maps may be kept and given to several targets.

    Args:
        corr_layout: "fixed" (the official code since February 2025) or "legacy" (before; the published
            checkpoint may be older, and its names do not tell).

    Raises:
        UserError: an unknown layout.
    """

    def __init__(self, corr_layout: str = "fixed", device: str = "cpu") -> None:
        super().__init__()
        if corr_layout not in LAYOUTS:
            raise unknown("corr_layout", corr_layout, LAYOUTS)
        layout: CorrLayout = "legacy" if corr_layout == "legacy" else "fixed"
        self.pair = fresh_clip(CLIP, device)
        self.backbone = Backbone()
        self.decode_head = DecodeHead(self.pair.model, layout)
        self.to(torch.device(device)).eval()

    def maps(self, pixels: Tensor) -> list[Tensor]:
        """(B, 3, H, W) ImageNet-normalised -> four maps (B, 256, ceil(H / 16), ceil(W / 16)), shallow first."""
        maps: list[Tensor] = self.backbone(pixels)
        return maps

    def clip_tokens(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W), the same input -> (B, 512, 24, 24) dense CLIP features, not normalised.

        As officially: the frame is squashed to 384 x 384, and keeps ImageNet's statistics.
        """
        squashed = F.interpolate(pixels, CLIP_INPUT, mode="bilinear", align_corners=False)
        return dense_features(self.pair, squashed, "maskclip")

    def text(self, vocabulary: Vocabulary) -> Tensor:
        """(K, 80, 512) text of the names in CLIP's 80 ImageNet templates, whatever the vocabulary's templates.

        Unit vectors, averaged over a name's synonyms, then divided by the Frobenius norm of the class's block.
        Kept on disk under a hash of the text tower's weights.

        Raises:
            UserError: a name that is too long for CLIP.
        """
        asked = Vocabulary(
            vocabulary.names, synonyms=vocabulary.synonyms, templates=load_templates("imagenet80")
        )
        blocks = encode_templates(self.pair, asked, unit=False)
        return blocks / blocks.norm(dim=(1, 2), keepdim=True)

    def far(self, maps: Sequence[Tensor]) -> Far:
        """All that depends on the far frame alone."""
        return self.decode_head.far(maps)

    def target(
        self,
        far: Far,
        maps9: Sequence[Tensor],
        maps6: Sequence[Tensor],
        maps: Sequence[Tensor],
        clip: Tensor,
        text: Tensor,
    ) -> Tensor:
        """Logits (B, K, 120, 120) of frame t by the five-frame path; frame t-3 has no influence officially.

        Args:
            far: what `far` gave for the far frame.
            maps9, maps6, maps: of frames t-9, t-6 and t.
            clip: `clip_tokens` of frame t.
            text: (K, 80, 512).

        Raises:
            UserError: frames of 64 pixels or less on a side.
        """
        head, size = self.decode_head, (int(maps[0].shape[2]), int(maps[0].shape[3]))
        features = head.enhanced(head.context(far, maps9, maps6, maps), far.regions, size)
        logits: Tensor = head.predictor(features, head.deep(maps), clip, text)
        return logits

    def single(self, maps: Sequence[Tensor], clip: Tensor, text: Tensor) -> Tensor:
        """Logits (B, K, 120, 120) of a frame without references (fallback: its own fused map, half the size).

        The layers it adds get no gradient in the official training.
        """
        h, w = (max(1, int(side) // 2) for side in maps[0].shape[2:])
        half = F.interpolate(self.decode_head.fused(maps), (h, w), mode="bilinear", align_corners=False)
        logits: Tensor = self.decode_head.predictor(half, self.decode_head.deep(maps), clip, text)
        return logits

    def official_names(self) -> dict[str, tuple[int, ...]]:
        """{name: shape} of all 1,513 entries of an official checkpoint, dead ones included."""
        live = {name: tuple(value.shape) for name, value in self.state_dict().items()}
        return {**live, **dead_entries()}

    def load_official(self, state: Mapping[str, Tensor]) -> None:
        """Take an official state dict; dead entries may be there or not, anything else must fit exactly.

        Raises:
            UserError: lists missing, unexpected and wrongly shaped names; the network is unchanged then.
        """
        apply(self, state, ignore=dead_entries())
        self._identify_text()

    def fill_by_name(self) -> None:
        """Name-seeded weights: the network is then untrained."""
        fill_by_name(self)
        self._identify_text()

    def _identify_text(self) -> None:
        """Text on disk is found by the text tower's weights; the image tower has no part in it."""
        tower = {n: v for n, v in self.pair.model.state_dict().items() if not n.startswith("visual.")}
        self.pair.weights_id = hash_state(tower)


def release_scores(logits: Tensor, input_size: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Logits (B, K, 120, 120) -> (B, K, *size): sigmoid, 480 x 480, input size, size, softmax over K.

    Three bilinear resizes, as officially. A network input of less than 120 pixels on a side cuts the logits
    there, as officially.
    """
    scores = logits[..., : input_size[0], : input_size[1]].float().sigmoid()
    for step in ((480, 480), input_size, size):
        if tuple(scores.shape[-2:]) != tuple(step):
            scores = F.interpolate(scores, step, mode="bilinear", align_corners=False)
    return scores.softmax(dim=1)
