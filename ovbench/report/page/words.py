"""What each score is, in one sentence, and with which others it is shown."""

from __future__ import annotations

from ovbench.report.values import SPEED

_METRICS = {
    "miou": "Intersection over union of each class, mean over the classes{of}.",
    "fwiou": "Intersection over union of each class, mean weighted by how many truth pixels a class has{of}.",
    "macc": "Share of a class's truth pixels that is right, mean over the classes{of}.",
    "pacc": "Share of truth pixels that is right{of}.",
    "things_miou": "mIoU over countable things only{of}.",
    "stuff_miou": "mIoU over stuff (surfaces, sky and the like) only{of}.",
    "merged_miou": "mIoU where names that may be swapped count as one class{of}.",
    "soft_miou": "mIoU where a broader name earns part of the credit{of}.",
}
_MODES = {
    "script": "Of the pixels whose truth stays the same over {n} frames, the share whose prediction stays the same "
    "too, as the VSPW script computes it. Asks no label to be right.",
    "clean": "As script, over all windows of {n} frames and scored pixels alone. Asks no label to be right.",
    "correct": "Of the pixels whose truth stays the same over {n} frames, the share whose prediction is that truth "
    "in every one of them.",
}
_PLAIN = {
    "harmonic.miou": "Harmonic mean of seen and unseen mIoU.",
    "seen_bias": "Share of unseen truth pixels that are given to a seen class; lower is better.",
    "change_rate": "Pixels whose label differs from the frame before. Asks no label to be right.",
    "aba_rate": "Pixels that leave a label and have it again in the next frame. Asks no label to be right.",
    "excess_change": "Change of the prediction minus change of the truth; 0 is best, negative moves too little.",
    SPEED: "Frames per second of the method alone; depends on the machine.",
}
_FLOW = {
    "tc": "mIoU between a label map and the next one warped back along the flow. Asks no label to be right.",
    "mtc": "The same mIoU for each pair of frames, mean over pairs. Asks no label to be right.",
    "warped_change": "Pixels whose label differs from the warped next map. Asks no label to be right.",
}
_LOW = ("seen_bias", "change_rate", "aba_rate", "warped_change")


def about(key: str) -> str:
    """What the score of this key ("unseen.miou", "vc8.correct", ...) is; "" for one that nobody described."""
    if key in _PLAIN:
        return _PLAIN[key]
    group, _, metric = key.partition(".")
    if metric in _METRICS:
        return _METRICS[metric].format(of="" if group == "all" else f" of the group '{group}'")
    if group.startswith("vc") and metric in _MODES:
        return _MODES[metric].format(n=group[2:])
    return _FLOW.get(key.partition("-")[0], "")


def less_first(key: str) -> bool:
    """Whether a reader who sorts by this score wants its lowest values first."""
    return key.partition("-")[0] in _LOW


def set_of(key: str) -> str:
    """The set of columns that a score is shown with: a group's name, "seen against unseen", "temporal", "speed"."""
    if key == SPEED:
        return "speed"
    if key in ("harmonic.miou", "seen_bias"):
        return "seen against unseen"
    group, dot, _ = key.partition(".")
    return group if dot and not group.removeprefix("vc").isdigit() else "temporal"
