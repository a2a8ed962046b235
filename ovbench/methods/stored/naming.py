"""Which video and frame an entry of a JSON file means: said in so many words, or found in a path, never guessed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ovbench.core.errors import UserError

Frame = tuple[str, str]
"""(video, frame)."""

_PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
_HINT = (
    'give each mask "video" and "frame", or "image_id" and a list "images" of {"id", "video", "frame"}, '
    'or "file_name": "<video>/<frame>.png"'
)


class Naming:
    """Finds the frame of a mask.

    Args:
        path: the file, for messages.
        known: ids of the data set's videos.
        video: the video that the whole file is about, or None.
    """

    def __init__(self, path: Path, known: frozenset[str], video: str | None) -> None:
        self._path, self._known, self._video = path, known, video
        self._images: dict[int | str, Frame] = {}
        self._listed: set[Frame] = set()
        self._paths: dict[str, Frame] = {}

    def add_image(self, value: Any) -> tuple[Frame, tuple[int, int] | None]:
        """Take an entry of "images"; its frame, and (height, width) where it says so.

        Raises:
            UserError: no id, an id or a frame twice, or no frame.
        """
        if not isinstance(value, Mapping) or not isinstance(value.get("id"), int | str):
            raise self._wrong(f"an entry of 'images' has no id: {_short(value)}")
        name = self._named(value)
        if name is None:
            raise self._wrong(f"image {value['id']!r} names no frame")
        if value["id"] in self._images:
            raise self._wrong(f"two images have the id {value['id']!r}")
        if name in self._listed:
            raise self._wrong(f"two images are frame '{name[1]}' of video '{name[0]}'")
        self._images[value["id"]] = name
        self._listed.add(name)
        size = (value.get("height"), value.get("width"))
        if all(type(n) is int and n > 0 for n in size):
            return name, size  # type: ignore[return-value]
        return name, None

    def of_mask(self, value: Any) -> Frame | int | str:
        """The frame of a mask, or the id of its image.

        Raises:
            UserError: it names neither.
        """
        if not isinstance(value, Mapping):
            raise self._wrong(f"a mask must be an object, not {_short(value)}")
        image = value.get("image_id")
        if isinstance(image, int | str) and "frame" not in value:
            return self._images.get(image, image)
        name = self._named(value)
        if name is None:
            raise self._wrong(f"a mask names no frame; its keys are {', '.join(map(str, value)) or '(none)'}")
        return name

    def of_image(self, image: int | str) -> Frame:
        """The frame of an image id, once all images are known; an id may be a path itself.

        Raises:
            UserError: no such image.
        """
        if image in self._images:
            return self._images[image]
        if isinstance(image, str):
            return self._from_path(image)
        raise self._wrong(f"image_id {image} is not among the {len(self._images)} 'images' of this file")

    def _named(self, value: Mapping[str, Any]) -> Frame | None:
        frame, video, path = value.get("frame"), value.get("video", self._video), value.get("file_name")
        if self._video is not None and video != self._video:
            raise self._wrong(f"an entry of video '{video}' lies in the file of video '{self._video}'")
        if isinstance(frame, str) and isinstance(video, str):
            return video, frame
        return self._from_path(path) if isinstance(path, str) else None

    def _from_path(self, text: str) -> Frame:
        if text not in self._paths:
            self._paths[text] = self._split(text)
        return self._paths[text]

    def _split(self, text: str) -> Frame:
        path = PurePosixPath(text.replace("\\", "/"))
        frame = path.stem if path.suffix.lower() in _PICTURES else path.name
        if self._video is not None:
            return self._video, frame
        folders = path.parts[:-1]
        videos = [part for part in folders if part in self._known]
        if len(videos) == 1:
            return videos[0], frame
        if len(folders) == 1:  # "<video>/<frame>", of a video that is not known: the caller says so
            return folders[0], frame
        raise self._wrong(f"'{text}' does not say which video it belongs to")

    def _wrong(self, what: str) -> UserError:
        return UserError(what, where=self._path, hint=_HINT)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
