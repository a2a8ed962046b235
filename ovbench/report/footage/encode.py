"""Moving pictures as files: GIF and WebP by Pillow, MP4 by an ffmpeg that is there."""

from __future__ import annotations

import importlib
import io
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from ovbench.core.errors import UserError, install_extra
from ovbench.core.types import Image
from ovbench.store.atomic import TEMPORARY_SUFFIX, write_bytes

from .motion import Motion

MOVING = (".gif", ".webp", ".mp4")


def write_moving(motion: Motion, path: Path, fps: float) -> None:
    """Write a moving picture, by the ending of `path`; complete or not at all.

    Raises:
        UserError: no encoder for MP4 (the message says how one is had), or the file cannot be written.
    """
    _WRITERS[path.suffix.lower()](motion, path, fps)


def encoder() -> str:
    """Path of an ffmpeg: the one on PATH, or the one of the package imageio-ffmpeg.

    Raises:
        UserError: there is none.
    """
    found = shutil.which("ffmpeg")
    if found is not None:
        return found
    try:
        return str(importlib.import_module("imageio_ffmpeg").get_ffmpeg_exe())
    except (ModuleNotFoundError, RuntimeError) as error:
        raise UserError(
            "MP4 needs ffmpeg, which is not on PATH",
            hint=f"install ffmpeg, or its package: {install_extra('video')}; .gif and .webp need neither",
        ) from error


def _gif(motion: Motion, path: Path, fps: float) -> None:
    """256 colours: those of the label maps exactly, greys for letters, and the rest for the photographs."""
    stream = io.BytesIO()
    chosen = _gif_palette(motion)
    frames = (_indexed(frame, chosen) for frame in motion)
    first = next(frames)
    # Pillow counts in milliseconds, GIF in hundredths of a second.
    duration = max(20, round(100 / fps) * 10)
    first.save(
        stream,
        format="GIF",
        save_all=True,
        append_images=frames,
        duration=duration,
        loop=0,
        optimize=False,
    )
    write_bytes(path, stream.getvalue())


def _gif_palette(motion: Motion) -> NDArray[np.uint8]:
    """(256, 3) uint8."""
    greys = np.repeat(np.linspace(0, 255, 12).astype(np.uint8)[:, None], 3, axis=1)
    exact = np.unique(np.concatenate([motion.colours, greys]), axis=0)[:240]
    sample = [motion.footage.image(i) for i in motion.frames[:: max(1, len(motion) // 8)]]
    room = 256 - len(exact)
    rest = Pillow.fromarray(np.concatenate(sample)).quantize(room, Pillow.Quantize.MEDIANCUT)
    found = np.array(rest.getpalette(), np.uint8).reshape(-1, 3)[:room]
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(exact)] = exact
    palette[len(exact) : len(exact) + len(found)] = found
    return palette


def _indexed(frame: Image, palette: NDArray[np.uint8]) -> Pillow.Image:
    """(H, W, 3) as a palette picture. Pillow looks colours up in cells of its cube, which can mix up two that are
    close, so pixels that have a colour of the palette get exactly that one.
    """
    holder = Pillow.new("P", (1, 1))
    holder.putpalette(palette.tobytes())
    near = Pillow.fromarray(frame).quantize(palette=holder, dither=Pillow.Dither.NONE)
    codes = (frame.astype(np.uint32) << np.array([16, 8, 0], np.uint32)).sum(axis=2)
    known = (palette.astype(np.uint32) << np.array([16, 8, 0], np.uint32)).sum(axis=1)
    order = np.argsort(known, kind="stable")
    place = np.minimum(np.searchsorted(known[order], codes), 255)
    exact = known[order][place] == codes
    values = np.where(exact, order[place], np.asarray(near)).astype(np.uint8)
    result = Pillow.fromarray(values, "P")
    result.putpalette(palette.tobytes())
    return result


def _webp(motion: Motion, path: Path, fps: float) -> None:
    """Lossless, so that edges of label maps stay sharp and their colours what the legend says."""
    stream = io.BytesIO()
    frames: Iterator[Pillow.Image] = map(Pillow.fromarray, motion)
    first = next(frames)
    first.save(
        stream,
        format="WEBP",
        save_all=True,
        append_images=frames,
        duration=round(1000 / fps),
        loop=0,
        lossless=True,
        quality=30,  # of lossless WebP: how hard it tries
        method=2,
    )
    write_bytes(path, stream.getvalue())


def _mp4(motion: Motion, path: Path, fps: float) -> None:
    """H.264 in the pixel format that browsers and slide programs play."""
    program = encoder()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}-{secrets.token_hex(4)}{TEMPORARY_SUFFIX}")
    frames = iter(motion)
    first = next(frames)
    size = f"{first.shape[1]}x{first.shape[0]}"
    command = [
        *(program, "-hide_banner", "-loglevel", "error", "-y"),
        *(
            "-f",
            "rawvideo",
            "-pixel_format",
            "rgb24",
            "-video_size",
            size,
            "-framerate",
            f"{fps:g}",
            "-i",
            "-",
        ),
        *("-c:v", "libx264", "-crf", "16", "-pix_fmt", "yuv420p", "-movflags", "+faststart"),
        *("-fflags", "+bitexact", "-flags:v", "+bitexact", "-threads", "1", "-f", "mp4", str(temporary)),
    ]
    try:
        problem = _feed(command, first, frames)
        if problem is not None or not temporary.is_file():
            raise UserError(
                f"ffmpeg could not make the file: {problem or 'it wrote nothing'}",
                where=program,
                hint="its build may lack libx264; .gif and .webp need no ffmpeg",
            )
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _feed(command: list[str], first: Image, frames: Iterable[Image]) -> str | None:
    """Run the encoder on frames; what it said where it failed, None where it did not."""
    with tempfile.TemporaryFile() as said:
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=said
        ) as process:
            assert process.stdin is not None
            try:
                process.stdin.write(first.tobytes())
                for frame in frames:
                    process.stdin.write(frame.tobytes())
                process.stdin.close()
            except BrokenPipeError:
                pass  # it ended early; its own words are below
            except BaseException:
                process.kill()
                raise
            code = process.wait()
        said.seek(0)
        words = said.read().decode(errors="replace").strip()
    return None if code == 0 else (words.splitlines() or [f"exit code {code}"])[-1]


_WRITERS: dict[str, Callable[[Motion, Path, float], None]] = {".gif": _gif, ".webp": _webp, ".mp4": _mp4}
