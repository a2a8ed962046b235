"""The 216 compositions of the world, and which of them a track names, trains on and holds out."""

from __future__ import annotations

from typing import NamedTuple

COLORS = ("red", "yellow", "green", "cyan", "blue", "pink")
TEXTURES = ("plain", "striped", "checkered", "dotted")
THINGS = ("disc", "square", "triangle", "star", "ring", "cross")
STUFF = ("sky", "wall", "floor")
KINDS = THINGS + STUFF


class Composition(NamedTuple):
    """A colour, a texture and a kind, as positions in the lists above."""

    color: int
    texture: int
    kind: int

    @property
    def name(self) -> str:
        """For example "red plain disc"."""
        return f"{COLORS[self.color]} {TEXTURES[self.texture]} {KINDS[self.kind]}"

    @property
    def raw_id(self) -> int:
        """Value in mask files, 1..216; 0 is void and never occurs."""
        return self.color * 36 + self.texture * 9 + self.kind + 1

    @property
    def is_stuff(self) -> bool:
        """Whether this is a sky, wall or floor."""
        return self.kind >= len(THINGS)

    @property
    def look(self) -> tuple[int, int]:
        """Colour and texture: what a camera sees of it without its outline."""
        return (self.color, self.texture)


ALL = tuple(
    Composition(c, t, k) for c in range(len(COLORS)) for t in range(len(TEXTURES)) for k in range(len(KINDS))
)

# Per colour two textures and two kinds: a 2x2 block of minimal pairs, one cell of it held out.
_TEXTURE_PAIRS = ((0, 1), (2, 3), (0, 2), (1, 3), (0, 3), (1, 2))
# Per stuff kind two colours and two textures.
_STUFF_BLOCKS = (((4, 5), (0, 3)), ((1, 0), (1, 2)), ((2, 3), (3, 2)))


def _blocks() -> tuple[list[list[Composition]], list[list[Composition]]]:
    things = []
    for color, textures in enumerate(_TEXTURE_PAIRS):
        kinds = (color, (color + 1) % len(THINGS))
        things.append([Composition(color, t, k) for t in textures for k in kinds])
    stuff = [
        [Composition(c, t, len(THINGS) + kind) for c in colors for t in textures]
        for kind, (colors, textures) in enumerate(_STUFF_BLOCKS)
    ]
    return things, stuff


def held_out() -> frozenset[Composition]:
    """The 9 compositions that occur in no training image, caption or mask of either track."""
    things, stuff = _blocks()
    cells = [block[(i * 3 + 1) % 4] for i, block in enumerate(things)]
    cells += [block[(i + 1) % 4] for i, block in enumerate(stuff)]
    return frozenset(cells)


def track_classes(track: str) -> tuple[Composition, ...]:
    """The 36 classes of a track: "pairs" (minimal pairs) or "attribute" (a look names one thing)."""
    things, stuff = _blocks()
    flat_stuff = [c for block in stuff for c in block]
    if track == "pairs":
        return tuple([c for block in things for c in block] + flat_stuff)
    if track != "attribute":
        raise ValueError(f"track '{track}' is neither 'attribute' nor 'pairs'")
    fixed = {c.look: c for c in held_out() if not c.is_stuff}
    every = [
        fixed.get((color, texture), Composition(color, texture, (color + 2 * texture + 1) % len(THINGS)))
        for color in range(len(COLORS))
        for texture in range(len(TEXTURES))
    ]
    return tuple(every + flat_stuff)


def pretraining_classes() -> tuple[Composition, ...]:
    """The 207 compositions that captions and images of the two-tower model may show."""
    held = held_out()
    return tuple(c for c in ALL if c not in held)
