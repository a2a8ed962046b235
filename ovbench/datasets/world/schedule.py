"""Which compositions stand in which clip: dealt like cards, so that each class occurs equally often."""

from __future__ import annotations

from collections.abc import Sequence

from .classes import Composition
from .integers import Stream

Cast = tuple[tuple[Composition, ...], tuple[Composition, ...]]
"""(sky, wall, floor) and the things of one clip."""


def deal(stream: Stream, classes: Sequence[Composition], clips: int, things_per_clip: int) -> list[Cast]:
    """Casts for `clips` clips over `classes`.

    Every stuff class of a kind and every thing is dealt equally often (up to one). A thing never has the
    look of a stuff region of its clip (it would be invisible), nor does it stand twice in a clip.
    """
    stuff = [_deck(stream, [c for c in classes if c.kind == kind], clips) for kind in (6, 7, 8)]
    backs = [tuple(column) for column in zip(*stuff, strict=True)]
    pool = [c for c in classes if not c.is_stuff]
    hand = _deck(stream, pool, clips * things_per_clip)
    casts: list[Cast] = []
    for back in backs:
        things: list[Composition] = []
        looks = {c.look for c in back}
        for card in list(hand):
            if len(things) == things_per_clip:
                break
            if card.look not in looks and card not in things:
                things.append(card)
                hand.remove(card)
        while len(things) < things_per_clip:  # the deck's tail may hold only cards that do not fit
            card = stream.pick(pool)
            if card.look not in looks and card not in things:
                things.append(card)
        casts.append((back, tuple(things)))
    return casts


def _deck(stream: Stream, cards: Sequence[Composition], size: int) -> list[Composition]:
    deck: list[Composition] = []
    while len(deck) < size:
        deck += stream.shuffled(cards)
    return deck[:size]
