"""The readers below `ovbench score`: run lengths, JSON entry by entry, arrays frame by frame."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from stored_maps import masks_of, random_maps, runs_of, write_coco, write_npy, write_png, write_rle

from ovbench.core.errors import UserError
from ovbench.methods.stored.open import open_source
from ovbench.methods.stored.rle import RleFile
from ovbench.methods.stored.source import as_label_map
from ovbench.protocol.vocabulary import Vocabulary
from ovbench.store import jsonscan
from ovbench.store.arrays import Npz, open_npy
from ovbench.store.rle import Overlap, RunError, decode_runs, encode_masks, paint

WORDS = Vocabulary([f"name {i}" for i in range(12)])
LABEL_MAPS = hnp.arrays(
    np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(0, 3)
)
QUICK = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@given(LABEL_MAPS)
@QUICK
def test_uncompressed_and_compressed_runs_paint_the_label_map(label_map: np.ndarray) -> None:
    pytest.importorskip("pycocotools")
    plain = [(m["category_id"], m["segmentation"]) for m in masks_of(label_map)]
    compressed = [(label, runs) for label, runs, _, _ in encode_masks(label_map)]
    for masks in (plain, compressed, compressed[::-1]):
        painted = paint([decode_runs(m) for _, m in masks], [v for v, _ in masks], np.dtype(np.uint8))
        assert painted.dtype == np.uint8 and painted.flags.c_contiguous
        assert np.array_equal(painted, label_map)
    without = paint([decode_runs(m) for _, m in plain[:1]], [plain[0][0]], np.dtype(np.uint16))
    assert np.array_equal(without, np.where(label_map == plain[0][0], plain[0][0], 65535))


def test_long_runs_and_areas_as_pycocotools_counts_them() -> None:
    coco = pytest.importorskip("pycocotools.mask")
    mask = np.zeros((1080, 1920), np.uint8, order="F")
    mask[3:1000, 100:1900] = 1
    mask[500:510, 700:705] = 0
    runs = coco.encode(mask)
    decoded = decode_runs({"size": runs["size"], "counts": runs["counts"].decode()})
    assert int((decoded.stop - decoded.start).sum()) == coco.area(runs) == mask.sum()
    assert np.array_equal(paint([decoded], [1], np.dtype(np.uint8)) == 1, mask == 1)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=130), max_size=12))
@QUICK
def test_any_text_is_runs_of_the_size_or_an_error(text: str) -> None:
    try:
        runs = decode_runs({"size": [4, 5], "counts": text})
    except RunError:
        return
    assert (
        (runs.start < runs.stop).all() and runs.start.min(initial=0) >= 0 and runs.stop.max(initial=0) <= 20
    )


@given(LABEL_MAPS, st.data())
@QUICK
def test_shared_pixels_are_found(label_map: np.ndarray, data: Any) -> None:
    extra = data.draw(hnp.arrays(np.bool_, label_map.shape))
    masks = [label_map == 1, extra]
    decoded = [decode_runs({"size": list(label_map.shape), "counts": runs_of(m)}) for m in masks]
    if (masks[0] & masks[1]).any():
        with pytest.raises(Overlap) as caught:
            paint(decoded, [1, 2], np.dtype(np.uint8))
        assert (caught.value.first, caught.value.second) == (0, 1)
    else:
        painted = paint(decoded, [1, 2], np.dtype(np.uint8))
        assert np.array_equal(painted, np.select(masks, [1, 2], 255))


CONTENTS: list[Any] = [
    [],
    {},
    [1, 2.5, -3e5, 'a"]},\\é', None, True, [{"x": [1, 2]}]],
    {"a": 12, "b": [], "c": [1, 12, {"k": "ü\u2028"}], "d": {"e": [1]}, "f": "x"},
]


@pytest.mark.parametrize("chunk", [1, 2, 7, 2**20])
@pytest.mark.parametrize("content", CONTENTS)
def test_json_entry_by_entry(
    content: Any, chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jsonscan, "_CHUNK", chunk)
    for indent in (None, 2):
        raw = json.dumps(content, indent=indent, ensure_ascii=False).encode()
        (tmp_path / "x.json").write_bytes(raw)
        scanner = jsonscan.Scanner(tmp_path / "x.json")
        entries = list(scanner.entries())
        assert all(json.loads(raw[e.start : e.stop]) == e.value for e in entries)
        assert scanner.sha256 == hashlib.sha256(raw).hexdigest()
        if isinstance(content, list):
            assert [e.value for e in entries] == content
        else:
            for key, value in content.items():
                values = [e.value for e in entries if e.key == key]
                assert values == (value if isinstance(value, list) else [value])
        for cut in range(len(raw)):
            (tmp_path / "x.json").write_bytes(raw[:cut])
            with pytest.raises(UserError, match="not JSON as expected"):
                list(jsonscan.Scanner(tmp_path / "x.json").entries())


def test_json_larger_than_memory_would_like(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonscan, "_CHUNK", 100)
    monkeypatch.setattr(jsonscan, "MAX_ENTRY", 1000)
    path = tmp_path / "x.json"
    path.write_text(json.dumps([{"a": "x" * 500}] * 200))
    assert sum(1 for _ in jsonscan.Scanner(path).entries()) == 200
    path.write_text('["' + "x" * 5000)
    with pytest.raises(UserError, match="more than 1,000 bytes, or a missing quote"):
        list(jsonscan.Scanner(path).entries())


@pytest.mark.parametrize(
    "text",
    [
        "[1,]",
        '{"a":1,}',
        "[1 2]",
        "[1] x",
        '{"a" 1}',
        "{1:2}",
        "[" * 50_000,
        "[nan]",
        "\ufeff",
        '{"a":[],"a":[]}',
    ],
)
def test_broken_json(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"(?s)not JSON as expected.*x\.json"):
        list(jsonscan.Scanner(tmp_path / "x.json").entries())


def test_arrays_are_read_frame_by_frame(tmp_path: Path) -> None:
    values = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    np.save(tmp_path / "c.npy", values)
    np.save(tmp_path / "f.npy", np.asfortranarray(values))
    np.savez(tmp_path / "x.npz", a=values, b=np.asfortranarray(values))
    np.savez_compressed(tmp_path / "y.npz", a=values)
    arrays = [open_npy(tmp_path / f"{n}.npy") for n in "cf"]
    arrays += [Npz(tmp_path / "x.npz").open("a"), Npz(tmp_path / "x.npz").open("b")]
    arrays += [Npz(tmp_path / "y.npz").open("a")]
    for array in arrays:
        for index in (0, 1, 2, 0, 2, 1):
            assert np.array_equal(array.frame(index), values[index])
        assert np.array_equal(array.whole(), values)


def test_a_long_stack_is_never_held_as_a_whole(tmp_path: Path) -> None:
    import tracemalloc

    values = np.zeros((400, 100, 100), np.uint8)
    np.savez_compressed(tmp_path / "v.npz", label_maps=values)
    write_npy({"w": {str(t): frame for t, frame in enumerate(values)}}, tmp_path)
    source = open_source(tmp_path, WORDS)
    names = [str(t) for t in range(400)]
    for video in ("v", "w"):
        tracemalloc.start()
        assert list(source.frames(video, names)) == names
        for name in names:
            assert source.read(video, name).shape == (100, 100)
        assert tracemalloc.get_traced_memory()[1] < 0.1 * values.size
        tracemalloc.stop()


def test_a_zip_that_lies_about_its_size(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=np.zeros((2, 3, 4), np.uint8))
    with zipfile.ZipFile(tmp_path / "x.npz") as archive:
        data = archive.read("a.npy")
    huge = data.replace(b"(2, 3, 4), }", b"(20000, 30000, 4), }")[: len(data)]
    with zipfile.ZipFile(tmp_path / "y.npz", "w") as archive:
        archive.writestr("a.npy", huge)
    with pytest.raises(UserError, match="array 'a'"):
        Npz(tmp_path / "y.npz").open("a")


@pytest.mark.parametrize(
    ("values", "names", "other"),
    [
        (np.array([[0, 255]], np.int64), 12, 65535),
        (np.array([[0, 65535]], np.int64), 12, 65535),
        (np.array([[0, 255]], np.float32), 12, 65535),
        (np.array([[0, 255]], np.uint8), 12, 255),
        (np.array([[0, 65535]], np.uint16), 300, 65535),
    ],
)
def test_other_in_every_width(values: np.ndarray, names: int, other: int) -> None:
    found = as_label_map(values, names, "here")
    assert found.dtype in (np.uint8, np.uint16)
    assert found.tolist() == [[0, other]]


def test_255_is_a_name_beside_many_names() -> None:
    assert as_label_map(np.array([[255, 256]], np.int32), 300, "here").tolist() == [[255, 256]]


def test_sources_agree(tmp_path: Path) -> None:
    frames = {"v": ["a", "b"], "w": ["c"]}
    maps = random_maps(frames, 12, (9, 14))
    paths = [
        write_png(maps, tmp_path / "png"),
        write_rle(maps, tmp_path / "list.json"),
        write_coco(maps, tmp_path / "coco.json"),
        write_npy(maps, tmp_path / "npy"),
    ]
    for path in paths:
        source = open_source(path, WORDS, frames)
        assert sorted(source.video_ids()) == ["v", "w"]
        for video, names in frames.items():
            assert list(source.frames(video, names)) == names
            for name in names:
                assert np.array_equal(source.read(video, name), maps[video][name])
        assert list(source.frames("stranger", ["a"])) == []


def test_lists_that_say_a_thing_twice(tmp_path: Path) -> None:
    first, second = WORDS.names[:2]
    image = {"id": 1, "video": "v", "frame": "0", "height": 2, "width": 2}
    for content, said in (
        ({"images": [image, image]}, "two images have the id 1"),
        ({"images": [image, {**image, "id": 2}]}, "two images are frame '0'"),
        (
            {"categories": [{"id": 0, "name": first}, {"id": 1, "name": first}]},
            "two categories have the name",
        ),
        (
            {"categories": [{"id": 0, "name": first}, {"id": 0, "name": second}]},
            "two categories have the id 0",
        ),
    ):
        (tmp_path / "x.json").write_text(json.dumps({"images": [], "annotations": [], **content}))
        with pytest.raises(UserError, match=said):
            RleFile(tmp_path / "x.json", WORDS)
