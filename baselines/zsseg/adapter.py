"""CLIP as zsseg uses it: class vectors with a "no object" row, and a look at every region cut out.

Source: zsseg.baseline, mask_former/modeling/clip_adapter/.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ovbench.nn.clip import ClipPair
from ovbench.nn.masknet import TextAdapter
from ovbench.nn.prompts import encode_prompted
from ovbench.nn.regions import look_at_crops, look_at_frame, masked_crop, tight_boxes, tower_size
from ovbench.nn.text import encode_vocabulary
from ovbench.protocol.templates import load_templates
from ovbench.protocol.vocabulary import Vocabulary

from .config import LEARNED, PROMPTS


class Adapter(TextAdapter):
    """`TextAdapter` that also looks at regions.

    Args:
        inside: whether CLIP's weights belong to this module's.
        prompt: a key of `PROMPTS`, or "learned".
        length: vectors of a learned prompt.
    """

    def __init__(self, clip: ClipPair, inside: bool, prompt: str, length: int = 16) -> None:
        super().__init__(clip, inside=inside, prompt_length=length if prompt == LEARNED else 0)
        self.prompt = prompt

    def text(self, vocabulary: Vocabulary) -> Tensor:
        """(K, E) unit vectors; synonyms are averaged. The vocabulary's own templates are not used."""
        if self.prompt == LEARNED:
            return encode_prompted(self.prompt_learner, vocabulary)
        templates = load_templates(PROMPTS[self.prompt])
        words = [[w.strip() for w in words] for words in vocabulary.synonyms]
        return encode_vocabulary(self.clip, Vocabulary(vocabulary.names, None, words, templates))

    def regions(self, pixels: Tensor, masks: Tensor, batch: int = 16) -> tuple[Tensor, Tensor]:
        """Cut every mask out and encode it; equal masks are encoded once.

        Args:
            pixels: (3, H, W) with CLIP's statistics.
            masks: (Q, H, W) bool.

        Returns:
            (V, E) vectors of the masks that are not empty, in order, not normalised; (Q,) bool, which these are.
        """
        boxes, valid = tight_boxes(masks)
        chosen = valid.nonzero()[:, 0].tolist()
        if not chosen:
            return pixels.new_zeros(0, self.non_object_embedding.shape[1]), valid
        keys = [_key(masks[i], boxes[i].tolist()) for i in chosen]

        def crop(n: int) -> Tensor:
            return self.crop(pixels, masks[chosen[n]], boxes[chosen[n]].tolist())

        return look_at_crops(self.clip, crop, keys, batch), valid

    def under(self, pixels: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Like `regions` from one dense look at the whole frame (not official)."""
        valid = masks.flatten(1).any(1)
        return look_at_frame(self.clip, pixels, masks[valid]), valid

    def crop(self, pixels: Tensor, mask: Tensor, box: Sequence[int]) -> Tensor:
        """One region of the normalised image at the tower's size; what the mask leaves out is CLIP's mean, 0."""
        return masked_crop(pixels, mask, box, tower_size(self.clip.model.visual))


def _key(mask: Tensor, box: Sequence[int]) -> tuple[bytes, ...]:
    """Equal exactly when two masks are: (box, pixels inside the box)."""
    x0, y0, x1, y1 = box
    return repr(tuple(box)).encode(), mask[y0:y1, x0:x1].cpu().numpy().tobytes()
