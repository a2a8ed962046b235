"""Saved label maps in another form: COCO-style run lengths, NumPy or PNG, that `ovbench score` reads back."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ovbench.core.errors import IncompleteError, UserError
from ovbench.core.types import LabelMap, other_of
from ovbench.datasets.base import Dataset
from ovbench.datasets.open import open_dataset
from ovbench.engine.records import read_records
from ovbench.methods.labels import label_dtype, narrow, outside
from ovbench.methods.predictions import check_and_hash, predictions_root
from ovbench.methods.stored.categories import FORMAT
from ovbench.methods.stored.open import open_source
from ovbench.methods.stored.source import Source, place
from ovbench.protocol.load import load_protocol
from ovbench.protocol.schema import Protocol
from ovbench.store.predictions import PredictionWriter
from ovbench.store.rle import encode_masks
from ovbench.store.rundir import RunDir

from .export import identity, protocol_of
from .export_place import new_file, new_folder
from .model import Run

MAP_FORMATS = ("rle", "npz", "png")
_ONE_FILE = {"rle": ".json", "npz": ".npz"}
_EPOCH = (1980, 1, 1, 0, 0, 0)  # equal label maps, equal bytes


@dataclass(frozen=True)
class _Maps:
    """Label maps to be written: which frames there are, and how to read them."""

    source: Source
    protocol: Protocol
    frames: Mapping[str, tuple[str, ...]]
    about: Mapping[str, Any]

    def read(self, video_id: str) -> Iterator[tuple[str, LabelMap]]:
        """(frame, label map) of a video, checked."""
        names = len(self.protocol.vocabulary)
        expected = self.frames[video_id]
        self.source.frames(video_id, expected)
        for frame in expected:
            label_map = narrow(self.source.read(video_id, frame), names)
            bad = outside(label_map, names)
            if bad is not None:
                raise UserError(f"the label {bad} is outside the vocabulary", where=place(video_id, frame))
            yield frame, label_map


def export_maps(
    path: Path,
    out: Path,
    form: str,
    *,
    protocol: str | None = None,
    data_root: Path | None = None,
    force: bool = False,
) -> Path:
    """Write the label maps of a run, or of any source that `ovbench score` reads, in another form.

    Args:
        path: a run that saved its label maps; with `protocol` also a folder or file of label maps.
        out: a file that ends in .json ("rle") or .npz ("npz") for everything in one; else a folder with a
            file (PNG: a folder) per video.
        form: of `MAP_FORMATS`.
        data_root: the data set's folder; needed only where label maps have no names, and then they are
            checked like those that are scored.

    Raises:
        UserError: no label maps here, a damaged one, a file in the way, a missing extra.
        IncompleteError: label maps are missing.
    """
    if form not in MAP_FORMATS:
        raise UserError(f"label maps are not written as {form}", hint=f"--format {', '.join(MAP_FORMATS)}")
    maps = _maps(path, protocol, data_root)
    if form == "rle":
        encode_masks(np.zeros((1, 1), np.uint8))  # is the package there?
    if form in _ONE_FILE and out.suffix == _ONE_FILE[form]:
        with new_file(out, force) as temporary:
            _WRITERS[form](temporary, maps, list(maps.frames), False)
        return out
    suffix = _ONE_FILE.get(form, "")
    with new_folder(out, force, {f"{video}{suffix}" for video in maps.frames}) as folder:
        for video_id in maps.frames:
            _WRITERS[form](folder / f"{video_id}{suffix}", maps, [video_id], True)
    return out


def _maps(path: Path, protocol: str | None, data_root: Path | None) -> _Maps:
    root = predictions_root(path)
    about: dict[str, Any] = {}
    if (path / "manifest.json").is_file():
        run = Run.open(path)
        rules = protocol_of(run, protocol)
        about = identity(run, "")
        del about["convention"]
    elif protocol is None:
        raise UserError(
            "this is no run folder, so it does not say which protocol its label maps are for",
            where=path,
            hint="--protocol P",
        )
    else:
        rules = load_protocol(protocol)
    dataset = None
    if data_root is not None or (rules.dataset.name == "world" and not about):
        dataset = open_dataset(rules, data_root, need_images=False)
    source = open_source(root, rules.vocabulary, () if dataset is None else dataset.video_ids)
    if about:
        frames = _of_run(run, source)
    elif dataset is not None:
        frames = _of_dataset(source, dataset)
    else:
        frames = {video: tuple(source.frames(video, ())) for video in source.video_ids()}
    if not any(frames.values()):
        raise UserError("there are no label maps here", where=root)
    for name in {*frames, *(name for names in frames.values() for name in names)}:
        if "/" in name or "\\" in name or name.startswith("."):  # names from a file of somebody else
            raise UserError(f"'{name}' cannot be the name of a video or frame", where=root)
    return _Maps(source, rules, frames, about)


def _of_run(run: Run, source: Source) -> dict[str, tuple[str, ...]]:
    """The frames of each video; as many as its record counted, or a part is missing."""
    frames = {video: tuple(source.frames(video, ())) for video in run.videos}
    short = [
        r.video_id
        for r in read_records(RunDir(run.path), run.videos)
        if len(frames[r.video_id]) != r.counts.frames
    ]
    if short:
        raise IncompleteError(
            f"{len(short)} videos of the run lack label maps, first '{short[0]}'",
            where=source.path,
            hint="give the run's command again with --save-predictions: only what is missing is done",
        )
    return frames


def _of_dataset(source: Source, dataset: Dataset) -> dict[str, tuple[str, ...]]:
    check_and_hash(source, dataset, dataset.video_ids, None)
    found = {}
    for video_id in dataset.video_ids:
        names = dataset.open(video_id).frame_names
        here = source.frames(video_id, names)
        found[video_id] = tuple(name for name in names if name in here)
    return found


def _write_rle(path: Path, maps: _Maps, video_ids: Sequence[str], _: bool) -> None:
    """COCO's form: info, categories, annotations, images; a mask is written as soon as it is made."""
    vocabulary = maps.protocol.vocabulary
    other = other_of(label_dtype(len(vocabulary)))
    protocol = {"id": maps.protocol.id, "version": maps.protocol.version, "hash": maps.protocol.hash}
    info = {"format": FORMAT, "vocabulary": vocabulary.hash, "protocol": protocol, "other": other}
    if maps.about:
        info |= {"method": maps.about["method"], "run_key": maps.about["run_key"]}
    categories = [{"id": i, "name": name} for i, name in enumerate(vocabulary.names)]
    images: list[dict[str, Any]] = []
    with open(path, "x", encoding="utf-8") as stream:
        stream.write(f'{{"info": {_line(info)},\n"categories": {_lines(categories)},\n"annotations": [')
        number = 0
        for video_id in video_ids:
            for frame, label_map in maps.read(video_id):
                images.append(_image(len(images) + 1, video_id, frame, label_map))
                for label, segmentation, area, box in encode_masks(label_map):
                    if label == other:
                        continue  # what no mask covers
                    number += 1
                    ids = {"id": number, "image_id": len(images), "category_id": label}
                    mask = {**ids, "segmentation": segmentation, "area": area, "bbox": box, "iscrowd": 0}
                    stream.write(("\n" if number == 1 else ",\n") + _line(mask))
        stream.write(f'\n],\n"images": {_lines(images)}}}\n')


def _image(number: int, video_id: str, frame: str, label_map: LabelMap) -> dict[str, Any]:
    names = {"id": number, "video": video_id, "frame": frame, "file_name": f"{video_id}/{frame}.png"}
    return {**names, "height": label_map.shape[0], "width": label_map.shape[1]}


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _lines(values: Iterable[Any]) -> str:
    return "[\n" + ",\n".join(map(_line, values)) + "\n]"


def _write_npz(path: Path, maps: _Maps, video_ids: Sequence[str], alone: bool) -> None:
    """A compressed array per frame, named <frame>, or <video>/<frame> in a file of several videos."""
    with zipfile.ZipFile(path, "x", zipfile.ZIP_DEFLATED) as archive:
        for video_id in video_ids:
            for frame, label_map in maps.read(video_id):
                data = io.BytesIO()
                np.lib.format.write_array(data, np.ascontiguousarray(label_map), allow_pickle=False)
                name = f"{frame}.npy" if alone else f"{video_id}/{frame}.npy"
                entry = zipfile.ZipInfo(name, _EPOCH)
                entry.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(entry, data.getvalue())


def _write_png(path: Path, maps: _Maps, video_ids: Sequence[str], _: bool) -> None:
    with PredictionWriter(path.parent, path.name) as writer:
        for frame, label_map in maps.read(video_ids[0]):
            writer.write(frame, label_map)


_WRITERS = {"rle": _write_rle, "npz": _write_npz, "png": _write_png}
