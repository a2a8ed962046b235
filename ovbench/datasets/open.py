"""From a protocol and a folder to a data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ovbench.core.errors import UserError, unknown
from ovbench.protocol.schema import Protocol

from .base import Dataset, Video
from .files import FileDataset, check_options

_NAMES = ("camvid", "cityscapes", "folder", "vspw", "world")


def open_dataset(
    protocol: Protocol, data_root: Path | None, *, train: bool = False, need_images: bool = True
) -> Dataset:
    """The protocol's evaluation split, or its training split with `train=True`.

    Args:
        data_root: the data set's folder; the world needs none.
        need_images: False for scoring, which works where the photographs are absent.

    Raises:
        UserError: no data root (the message says how the data set is obtained), another layout,
            an empty split, a list that names a missing video, a protocol without training split.
    """
    dataset = _open(protocol, data_root, train, need_images)
    if isinstance(dataset, FileDataset):
        dataset.check()
    return dataset


def open_unchecked(protocol: Protocol, data_root: Path | None, *, train: bool = False) -> Dataset:
    """Like `open_dataset`, but oddities of the list stay findings: for `ovbench data verify`."""
    return _open(protocol, data_root, train, True)


def open_video(folder: str | Path) -> Video:
    """The images of one folder as a video without truth, in natural order of their names."""
    from .folder import open_folder

    return open_folder(folder)


def _open(protocol: Protocol, data_root: Path | None, train: bool, need_images: bool) -> Dataset:
    spec = protocol.dataset
    split = spec.train_split if train else spec.split
    if split is None:
        raise UserError(
            f"protocol '{protocol.id}' has no training split",
            hint="choose a protocol that names one (`ovbench protocols show ID`)",
        )
    only = () if train else spec.videos
    if spec.name == "world":
        from .world.dataset import WorldDataset

        check_options("world", spec.options, {"track": ("attribute", "pairs")})
        world = WorldDataset(split, **spec.options)
        return Subset(world, only) if only else world
    reader = _reader(spec.name)
    if data_root is None:
        from .howto import missing_root

        raise missing_root(spec.name, protocol.id)
    check_options(spec.name, spec.options, reader.options)
    return reader(Path(data_root).expanduser(), split, need_images, only, **spec.options)


class Subset(Dataset):
    """Some videos of a data set, in an order of their own."""

    def __init__(self, whole: Dataset, only: Sequence[str]) -> None:
        for video_id in only:
            if video_id not in whole.video_ids:
                raise unknown(f"video of {whole.name} {whole.split}", video_id, whole.video_ids)
        self.whole, self.name, self.split = whole, whole.name, whole.split
        self._only = tuple(only)

    @property
    def video_ids(self) -> Sequence[str]:
        return self._only

    def open(self, video_id: str) -> Video:
        if video_id not in self._only:
            raise unknown(f"video of {self.name} {self.split}", video_id, self._only)
        return self.whole.open(video_id)

    def frame_count(self, video_id: str) -> int:
        return self.whole.frame_count(video_id)


def _reader(name: str) -> type[FileDataset]:
    if name == "vspw":
        from .vspw import VspwDataset

        return VspwDataset
    if name == "cityscapes":
        from .cityscapes import CityscapesDataset

        return CityscapesDataset
    if name == "camvid":
        from .camvid import CamvidDataset

        return CamvidDataset
    if name == "folder":
        from .folder import FolderDataset

        return FolderDataset
    raise unknown("data set", name, _NAMES)
