"""Looking at videos: frames, truth and what methods said, beside each other.

    class_colours(protocol) -> (K, 3) uint8            one colour per class, the same in every picture
    palette(protocol) -> (K + 2, 3) uint8              ... then "abstained" (index K) and "not evaluated" (K + 1)
    saves_label_maps(run, video_id) -> bool            whether there is something to look at
    need_label_maps(run, protocol, data_root)          raises where there is not, with the command that helps
    open_footage(runs, protocol, data_root, video_id) -> Footage

    Footage.frame_names      names of the frames that can be shown
    Footage.names            one name per run, as tables call them
    Footage.image(i)         (H, W, 3) uint8
    Footage.truth(i)         (H, W) int16 class indices, VOID where nothing is evaluated; None without a mask
    Footage.label_map(r, i)  (H, W) int16 class indices of run r, OTHER where it abstained; None without one

Label maps and truth are class indices, so `palette(protocol)[label_map]` paints them: OTHER (-2) and VOID (-1)
index the last two rows. Everything here is lazy; `Footage` keeps no more than the frames just asked for.
"""

from __future__ import annotations

from .colours import OTHER, VOID, class_colours, palette
from .source import Footage, open_footage, saves_label_maps
from .without import need_label_maps

__all__ = [
    "OTHER",
    "VOID",
    "Footage",
    "class_colours",
    "need_label_maps",
    "open_footage",
    "palette",
    "saves_label_maps",
]
