"""CLIP as zsseg uses it: class vectors with a "no object" row, and a look at every region cut out.

Source: zsseg.baseline, mask_former/modeling/clip_adapter/.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovbench.nn.clip import ClipPair
from ovbench.nn.dense import own_features
from ovbench.nn.pooled import encode_images
from ovbench.nn.prompts import LearnedPrompt, encode_prompted
from ovbench.nn.regions import encode_crops, masked_crop, mean_under, tight_boxes, tower_size
from ovbench.nn.text import encode_vocabulary
from ovbench.protocol.templates import load_templates
from ovbench.protocol.vocabulary import Vocabulary

from .config import LEARNED, PROMPTS

TEMPERATURE = 100.0
"""Of all cosines; a constant, CLIP's own `logit_scale` is not used."""


class Adapter(nn.Module):
    """Names: `clip_model` (unless the towers are the embedded ones), `prompt_learner`, `non_object_embedding`.

    Args:
        prompt: a key of `PROMPTS`, or "learned".
        length: vectors of a learned prompt.
    """

    def __init__(self, clip: ClipPair, prompt: str, length: int = 16) -> None:
        super().__init__()
        self._clip = [clip]  # in a list: not a submodule
        self.prompt = prompt
        if clip.name not in ("world", "tiny"):
            self.clip_model = clip.model
        if prompt == LEARNED:
            self.prompt_learner = LearnedPrompt(clip, length)
        table = clip.model.text_projection
        self.non_object_embedding = nn.Parameter(torch.randn(1, table.shape[-1]) * table.shape[0] ** -0.5)

    @property
    def clip(self) -> ClipPair:
        """The two towers."""
        return self._clip[0]

    def text(self, vocabulary: Vocabulary) -> Tensor:
        """(K, E) unit vectors; synonyms are averaged. The vocabulary's own templates are not used."""
        if self.prompt == LEARNED:
            return encode_prompted(self.prompt_learner, vocabulary)
        templates = load_templates(PROMPTS[self.prompt])
        words = [[w.strip() for w in words] for words in vocabulary.synonyms]
        return encode_vocabulary(self.clip, Vocabulary(vocabulary.names, None, words, templates))

    def with_void(self, text: Tensor) -> Tensor:
        """(K, E) -> (K + 1, E): the "no object" row at the end."""
        return torch.cat([text, F.normalize(self.non_object_embedding, dim=-1)])

    def similarities(self, vectors: Tensor, text: Tensor) -> Tensor:
        """(..., E) vectors of any length and (N, E) unit vectors -> (..., N)."""
        return TEMPERATURE * F.normalize(vectors, dim=-1) @ text.T

    def regions(self, image: Tensor, masks: Tensor, batch: int = 16) -> tuple[Tensor, Tensor]:
        """Cut every mask out and encode it; equal masks are encoded once.

        Args:
            image: (3, H, W) float 0..255 RGB.
            masks: (Q, H, W) bool.

        Returns:
            (V, E) vectors of the masks that are not empty, in order, not normalised; (Q,) bool, which these are.
        """
        boxes, valid = tight_boxes(masks)
        chosen = valid.nonzero()[:, 0].tolist()
        if not chosen:
            return image.new_zeros(0, self.non_object_embedding.shape[1]), valid
        pixels = self.normalise(image)
        keys = [_key(masks[i], boxes[i].tolist()) for i in chosen]

        def crop(n: int) -> Tensor:
            return self.crop(pixels, masks[chosen[n]], boxes[chosen[n]].tolist())

        return encode_crops(crop, keys, lambda x: encode_images(self.clip.model, x), batch), valid

    def under(self, image: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Like `regions` from one dense look at the whole frame (not official), see `nn.regions.mean_under`."""
        valid = masks.flatten(1).any(1)
        features = own_features(self.clip, self.normalise(image)[None])[0]
        return mean_under(features, masks[valid]), valid

    def crop(self, pixels: Tensor, mask: Tensor, box: Sequence[int]) -> Tensor:
        """One region of the normalised image at the tower's size; what the mask leaves out is CLIP's mean, 0."""
        return masked_crop(pixels, mask, box, tower_size(self.clip.model.visual))

    def normalise(self, image: Tensor) -> Tensor:
        """(3, H, W) 0..255 -> with CLIP's statistics."""
        mean, std = (
            torch.tensor(v, device=image.device).view(3, 1, 1) * 255 for v in (self.clip.mean, self.clip.std)
        )
        return (image - mean) / std


def _key(mask: Tensor, box: Sequence[int]) -> tuple[bytes, ...]:
    """Equal exactly when two masks are: (box, pixels inside the box)."""
    x0, y0, x1, y1 = box
    return repr(tuple(box)).encode(), mask[y0:y1, x0:x1].cpu().numpy().tobytes()
