"""Which kind of label maps a path holds: seen by its files, said in one message where they do not fit."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from ovbench.core.errors import UserError
from ovbench.protocol.vocabulary import Vocabulary

from .arrays import ArrayFile, ArrayFolder
from .png import PngFolder
from .rle import RleFile, RleFolder
from .source import Source, mixed

FORMS = (
    "a folder of <video>/<frame>.png, <video>.json, <video>.npy or <video>.npz, the folder of a run that saved its "
    "label maps, or one .json or .npz file"
)
_ARRAYS = {".npy", ".npz"}


def open_source(path: Path, vocabulary: Vocabulary, video_ids: Collection[str] = ()) -> Source:
    """The label maps at `path`.

    Args:
        path: as `predictions_root` gives it.
        vocabulary: what the numbers mean.
        video_ids: the data set's videos, with which entries of a JSON file that go by path are placed.

    Raises:
        UserError: nothing here, a mixture, another kind of file, or a damaged one.
    """
    if path.is_file():
        if path.suffix == ".json":
            return RleFile(path, vocabulary, video_ids)
        if path.suffix == ".npz":
            return ArrayFile(path, len(vocabulary))
        raise UserError("label maps are not read from such a file", where=path, hint=f"give {FORMS}")
    if not path.is_dir():
        raise UserError("there are no predictions here", where=path, hint=f"give {FORMS}")
    kinds = {"folders": False, "json": False, "arrays": False}
    for entry in path.iterdir():
        if not entry.name.startswith("."):
            kinds["folders"] |= entry.is_dir()
            kinds["json"] |= entry.suffix == ".json" and entry.is_file()
            kinds["arrays"] |= entry.suffix in _ARRAYS and entry.is_file()
    if kinds["json"] and kinds["arrays"]:
        raise mixed(path, "this folder holds both .json files and NumPy files")
    if kinds["folders"] or not (kinds["json"] or kinds["arrays"]):
        return PngFolder(path, len(vocabulary))
    return RleFolder(path, vocabulary, video_ids) if kinds["json"] else ArrayFolder(path, len(vocabulary))
