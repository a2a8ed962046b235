"""`ovbench show`: from runs to a picture of one video, still or moving."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ovbench.core.errors import UserError
from ovbench.datasets.base import Dataset
from ovbench.datasets.open import open_dataset
from ovbench.methods.predictions import predictions_root
from ovbench.protocol.load import load_protocol
from ovbench.protocol.schema import Protocol
from ovbench.store.atomic import write_bytes

from ..find import find, open_runs
from ..model import Run, folder_of, required_protocol
from .pick import Choice, common_videos, pick, spread
from .source import Footage, open_footage
from .without import need_label_maps

STILL = (".png", ".pdf", ".svg")
ENDINGS = (*STILL, ".gif", ".webp", ".mp4")
_FRAMES = 4  # of a still picture, where nobody says which
_DPI = {"png": 150, "pdf": 300, "svg": 300}  # of photographs, in the vector forms
_MAPS = (".json", ".npz")


@dataclass(frozen=True)
class Asked:
    """What somebody wants to see.

    Attributes:
        video: its id; None: as `rule` says, else the first that all runs have.
        rule: one of `pick.RULES`.
        frames: "0,5,8-12", counted from 0; None: all of a moving picture, four of a still one.
        out: a file that ends in one of `ENDINGS`; None: VIDEO.png here.
        errors: also show what is wrong.
        protocol: path of the user's own; for label maps outside a run an id or a path.
    """

    paths: tuple[Path, ...]
    video: str | None = None
    rule: str | None = None
    frames: str | None = None
    out: Path | None = None
    errors: bool = True
    fps: float = 5.0
    protocol: str | None = None
    data_root: Path | None = None


@dataclass(frozen=True)
class Shown:
    """The file that was written, and in words what it shows."""

    path: Path
    what: str


def show(asked: Asked) -> Shown:
    """Draw it.

    Raises:
        UserError: no such run, video, frame, rule or ending; runs of different protocols or without label maps; no
            data root; no encoder.
        IncompleteError: label maps are missing.
        IntegrityError: label maps are not those that were scored.
    """
    if asked.video is not None and asked.rule is not None:
        raise UserError("--video and --pick are two ways to say which video", hint="give one of them")
    if asked.out is not None:
        _check_ending(asked.out)
    runs = _open(asked)
    protocol = _protocol(runs, asked.protocol)
    dataset = open_dataset(protocol, asked.data_root)
    choice = _choice(asked, runs, protocol, dataset)
    footage = open_footage(runs, protocol, asked.data_root, choice.video_id, dataset=dataset)
    footage.check()
    out = asked.out or Path(f"{choice.video_id}.png")
    ending = out.suffix.lower()
    still = ending in STILL
    if asked.frames is not None:
        frames = parse_frames(asked.frames)
    else:
        frames = default_frames(footage, choice.around) if still else list(range(len(footage)))
    boxes = ""
    if still:
        boxes = _write_still(footage, frames, asked.errors, out)
    else:
        from .encode import encoder, write_moving
        from .motion import motion

        if ending == ".mp4":
            encoder()  # before anything is drawn
        write_moving(motion(footage, frames, errors=asked.errors), out, asked.fps)
    shown = ", ".join(footage.frame_names[i] for i in frames[:_FRAMES]) + (
        ", ..." if len(frames) > _FRAMES else ""
    )
    plural = "s" if len(frames) != 1 else ""
    return Shown(
        out, f"{choice.video_id}: {choice.why}; {len(frames)} frame{plural} ({shown}){boxes and f'; {boxes}'}"
    )


def parse_frames(text: str) -> list[int]:
    """Frame numbers in the order given: "0,5,8-12"."""
    found: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,7})(?:\s*-\s*(\d{1,7}))?\s*", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if first > last:
            raise UserError(
                f"'{part.strip()}' is no frame", where="--frames", hint="like 0,5,10 or 8-12, counted from 0"
            )
        found += range(first, last + 1)
    return found


def default_frames(footage: Footage, around: int | None = None) -> list[int]:
    """Four neighbouring frames up to just after `around`, else four spread over those that can be judged."""
    mapped = [
        i for i in range(len(footage)) if all(footage.has_label_map(r, i) for r in range(len(footage.names)))
    ]
    mapped = mapped or list(range(len(footage)))
    judged = [i for i in mapped if footage.video.annotated(i)] or mapped
    if around is None or around not in judged:
        return [judged[i] for i in spread(len(judged), _FRAMES)]
    first = max(0, min(judged.index(around) - _FRAMES // 2, len(judged) - _FRAMES))
    return judged[first : first + _FRAMES]


def _check_ending(out: Path) -> None:
    if out.suffix.lower() not in ENDINGS:
        raise UserError(
            f"pictures are not written as '{out.suffix or out.name}'",
            where=out,
            hint=f"--out with one of the endings {', '.join(ENDINGS)}",
        )


def _open(asked: Asked) -> list[Run | Path]:
    runs: list[Run | Path] = []
    for path in dict.fromkeys(asked.paths):
        if asked.protocol is not None and _label_maps(path):
            runs.append(path)
        else:
            runs += open_runs([path])
    for run in runs:
        if isinstance(run, Run):
            need_label_maps(run, asked.protocol, asked.data_root)
    return runs


def _label_maps(path: Path) -> bool:
    """Whether a path is label maps that belong to no run."""
    if path.is_file():
        return path.suffix in _MAPS and path.name not in ("summary.json", "manifest.json")
    return path.is_dir() and next(find(folder_of(path)), None) is None and predictions_root(path) == path


def _protocol(runs: Sequence[Run | Path], given: str | None) -> Protocol:
    for run in runs:
        if isinstance(run, Run):
            return required_protocol(run.protocol, given, run.path, "show")
    assert given is not None
    return load_protocol(given)


def _choice(asked: Asked, runs: Sequence[Run | Path], protocol: Protocol, dataset: Dataset) -> Choice:
    if asked.rule is not None:
        return pick(asked.rule, runs, protocol, dataset)
    if asked.video is not None:
        return Choice(asked.video, "as asked")
    common = common_videos(runs, dataset.video_ids)
    if not common:
        raise UserError("no video is in all of these runs", hint="show runs over the same videos")
    if len(common) == 1:
        return Choice(common[0], "the only video")
    return Choice(common[0], f"the first of {len(common)} videos (--video ID or --pick RULE for another)")


def _write_still(footage: Footage, frames: Sequence[int], errors: bool, out: Path) -> str:
    """Write it; says what of its text cannot be drawn."""
    import matplotlib

    from ..figures.style import undrawable, without_glyph_warnings
    from .strip import strip

    form = out.suffix[1:].lower()
    # No date and no program's name: equal pictures, equal bytes.
    about = {"png": {"Software": None}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}[form]
    stream = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "ovbench", "pdf.fonttype": 42}), without_glyph_warnings():
        figure = strip(footage, frames, errors=errors, dpi=_DPI[form])
        figure.savefig(stream, format=form, dpi=_DPI[form], metadata=about)
    write_bytes(out, _opaque(stream) if form == "png" else stream.getvalue())
    return undrawable(figure)


def _opaque(stream: io.BytesIO) -> bytes:
    """The same PNG without transparency, as small as Pillow makes it."""
    from PIL import Image

    smaller = io.BytesIO()
    Image.open(stream).convert("RGB").save(smaller, format="PNG", optimize=True)
    return smaller.getvalue()
