"""CLIP as zsseg uses it: class vectors with a "no object" row, and a look at every region cut out.

Source: zsseg.baseline, mask_former/modeling/clip_adapter/.
"""

from __future__ import annotations

from torch import Tensor

from ovbench.nn.clip import ClipPair
from ovbench.nn.prompts import encode_prompted
from ovbench.nn.regionmodel import RegionAdapter
from ovbench.nn.text import encode_vocabulary
from ovbench.protocol.templates import load_templates
from ovbench.protocol.vocabulary import Vocabulary

from .config import LEARNED, PROMPTS


class Adapter(RegionAdapter):
    """`RegionAdapter` with fixed prompts or a learned one.

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
