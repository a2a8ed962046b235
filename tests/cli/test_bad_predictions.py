"""Label maps from elsewhere through `ovbench score`: every form counts the same, every mistake is one message."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from make_trees import SIZE, make_cityscapes, make_vspw
from PIL import Image
from stored_maps import (
    OTHER,
    LabelMaps,
    random_maps,
    runs_of,
    write_coco,
    write_npy,
    write_npz,
    write_png,
    write_rle,
)

from ovbench.cli.main import _run
from ovbench.core.errors import UserError
from ovbench.engine.evaluate import score as score_folder
from ovbench.protocol.load import load_protocol

PROTOCOL = "vspw-80-44-gzs"
VIDEOS = {"101_aB-c": 5, "7_short": 2}
FRAMES = {v: [f"{t + 1:08d}" for t in range(n)] for v, n in VIDEOS.items()}
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree with masks alone: scoring must do without photographs."""
    root = make_vspw(tmp_path_factory.mktemp("data"), VIDEOS, images=False)
    assert not list(root.rglob("*.jpg"))
    return root


@pytest.fixture
def maps() -> LabelMaps:
    return random_maps(FRAMES, 124, SIZE)


@pytest.fixture
def score(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    """Runs `ovbench score`: exit code, stderr, and where it was to write."""

    def call(predictions: Path, *more: object, out: str = "out") -> tuple[int, str, str]:
        arguments = ("score", "--predictions", predictions, "--protocol", PROTOCOL, "--data-root", root)
        code = _run([str(a) for a in (*arguments, "--jobs", 1, "--out", tmp_path / out, *more)])
        return code, capsys.readouterr().err, str(tmp_path / out)

    return call


def counts(out: str) -> dict[str, Any]:
    return {p.stem: json.loads(p.read_text())["counts"] for p in sorted(Path(out, "records").glob("*.json"))}


def palette(label_map: np.ndarray) -> Image.Image:
    """Indices with colours that say nothing: every index black but for the last."""
    picture = Image.fromarray(label_map)
    picture.putpalette([0, 0, 0] * 255 + [255, 255, 255])
    return picture


def sixteen(other: int) -> Callable[[np.ndarray], Image.Image]:
    def convert(label_map: np.ndarray) -> Image.Image:
        wide = label_map.astype(np.uint16)
        wide[label_map == OTHER] = other
        return Image.fromarray(wide)

    return convert


def folder_of_json(maps: LabelMaps, folder: Path) -> Path:
    folder.mkdir()
    for video in maps:
        write_rle({video: maps[video]}, folder / f"{video}.json", lambda v, f: {"file_name": f"{f}.jpg"})
    return folder


def stacks(maps: LabelMaps, folder: Path) -> Path:
    folder.mkdir()
    for video, frames in maps.items():
        np.savez(folder / f"{video}.npz", label_maps=np.stack(list(frames.values())))
    return folder


def one_npz(maps: LabelMaps, path: Path) -> Path:
    arrays = {f"{v}/{f}": m for v, frames in maps.items() for f, m in frames.items()}
    np.savez_compressed(path, **arrays)
    return path


def one_npz_of_stacks(maps: LabelMaps, path: Path) -> Path:
    np.savez_compressed(path, **{v: np.stack(list(frames.values())) for v, frames in maps.items()})
    return path


def renumbered(maps: LabelMaps, path: Path) -> Path:
    """Categories of its own, from 1 on and backwards: they go by name."""
    names = load_protocol(PROTOCOL).vocabulary.names
    new = {old: 124 - old for old in range(124)}
    moved = {
        v: {f: np.vectorize(lambda x: new.get(x, OTHER))(m).astype(np.uint8) for f, m in frames.items()}
        for v, frames in maps.items()
    }
    return write_coco(moved, path, [{"id": i, "name": names[old]} for old, i in new.items()])


def with_pycocotools(maps: LabelMaps, path: Path) -> Path:
    coco = pytest.importorskip("pycocotools.mask")
    entries = []
    for video, frames in maps.items():
        for frame, m in frames.items():
            for v in np.unique(m).tolist():
                runs = coco.encode(np.asfortranarray(m == v, np.uint8))
                segmentation = {"size": runs["size"], "counts": runs["counts"].decode()}
                entry = {"category_id": v, "segmentation": segmentation}
                entries.append({**entry, "file_name": f"/data/vspw/{video}/origin/{frame}.jpg"})
    path.write_text(json.dumps(entries, indent=1))
    return path


FORMS: dict[str, Callable[[LabelMaps, Path], Path]] = {
    "palette PNG": lambda m, p: write_png(m, p / "x", palette),
    "16-bit PNG": lambda m, p: write_png(m, p / "x", sixteen(65535)),
    "16-bit PNG, 255 for other": lambda m, p: write_png(m, p / "x", sixteen(OTHER)),
    "list of masks": lambda m, p: write_rle(m, p / "x.json"),
    "detectron2 sem_seg": lambda m, p: with_pycocotools(m, p / "x.json"),
    "COCO": lambda m, p: write_coco(m, p / "x.json"),
    "COCO, own categories": lambda m, p: renumbered(m, p / "x.json"),
    "image ids that are paths": lambda m, p: write_rle(
        m, p / "x.json", lambda v, f: {"image_id": f"{v}/{f}"}
    ),
    "JSON per video": lambda m, p: folder_of_json(m, p / "x"),
    "npy": lambda m, p: write_npy(m, p / "x"),
    "npy of int64": lambda m, p: write_npy(m, p / "x", np.int64),
    "npy of whole floats": lambda m, p: write_npy(m, p / "x", np.float32),
    "npz by frame": lambda m, p: write_npz(m, p / "x"),
    "npz stack": lambda m, p: stacks(m, p / "x"),
    "one npz": lambda m, p: one_npz(m, p / "x.npz"),
    "one npz of stacks": lambda m, p: one_npz_of_stacks(m, p / "x.npz"),
}


@pytest.fixture(scope="module")
def expected(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Counts of plain 8-bit PNGs."""
    folder = tmp_path_factory.mktemp("png")
    write_png(random_maps(FRAMES, 124, SIZE), folder / "x")
    arguments = (
        "score",
        "--predictions",
        folder / "x",
        "--protocol",
        PROTOCOL,
        "--data-root",
        root,
        "--jobs",
        1,
    )
    assert _run([str(a) for a in (*arguments, "--out", folder / "out")]) == 0
    return counts(str(folder / "out"))


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_counts(
    form: str, maps: LabelMaps, score: Call, tmp_path: Path, expected: dict[str, Any]
) -> None:
    code, err, out = score(FORMS[form](maps, tmp_path))
    assert code == 0, err
    assert counts(out) == expected
    assert sum(expected["7_short"]["joint"]["pixels"]) == 2 * SIZE[0] * SIZE[1]
    assert -1 in expected["7_short"]["joint"]["prediction"]


def fails(result: tuple[int, str, str], code: int, *words: str) -> None:
    """One message with these words, and no summary."""
    found, err, out = result
    assert found == code, err
    assert err.count("error: ") == 1 and "Traceback" not in err
    for word in words:
        assert word in err, f"{word!r} is not in:\n{err}"
    if code == 3:
        assert not Path(out).exists()
    assert not Path(out, "summary.json").exists()
    assert not [p for p in Path(out).rglob("*") if p.name.endswith(".tmp")]


V, F = "7_short", "00000002"


# --- PNG ----------------------------------------------------------------------------------------------


def test_a_label_outside_the_vocabulary(maps: LabelMaps, score: Call, tmp_path: Path) -> None:
    maps[V][F][3, 4] = 200
    fails(score(write_png(maps, tmp_path / "p")), 2, f"video '{V}', frame '{F}'", "label 200")
    maps[V] = {f: m.astype(np.uint16) for f, m in maps[V].items()}
    maps[V][F][maps[V][F] == 200] = 4000
    maps[V] = {f: np.where(m == OTHER, 65535, m).astype(np.uint16) for f, m in maps[V].items()}
    wide = write_png(maps, tmp_path / "q")
    fails(score(wide, out="o2"), 2, f"video '{V}', frame '{F}'", "label 4000")
    fails(score(write_npz(maps, tmp_path / "n"), out="o3"), 2, f"video '{V}', frame '{F}'", "label 4000")


@pytest.mark.parametrize("form", ["PNG", "npz by frame", "list of masks"])
def test_another_size_than_the_truth(form: str, maps: LabelMaps, score: Call, tmp_path: Path) -> None:
    maps[V][F] = maps[V][F][:-2, :-3]
    write = FORMS.get(form, lambda m, p: write_png(m, p / "x"))
    fails(score(write(maps, tmp_path)), 2, V, F, "22x37", "24x40")


@pytest.mark.parametrize(
    "form", ["PNG", "npz by frame", "list of masks", "COCO", "one npz", "JSON per video"]
)
def test_missing_and_extra(form: str, maps: LabelMaps, score: Call, tmp_path: Path) -> None:
    write = FORMS.get(form, lambda m, p: write_png(m, p / "x"))
    spare = maps[V].pop(F)
    (tmp_path / "a").mkdir()
    fails(score(write(maps, tmp_path / "a")), 3, f"1 label maps are missing, in 1 videos: {V}/{F}")
    maps[V][F] = maps[V]["00000009"] = spare
    (tmp_path / "b").mkdir()
    fails(score(write(maps, tmp_path / "b")), 2, f"1 label maps are no frames of video '{V}': 00000009")
    del maps[V]["00000009"]
    video = maps.pop(V)
    (tmp_path / "c").mkdir()
    fails(score(write(maps, tmp_path / "c")), 3, f"2 label maps are missing, in 1 videos: {V}/00000001")
    maps[V] = maps["stranger"] = video
    (tmp_path / "d").mkdir()
    fails(score(write(maps, tmp_path / "d")), 2, "1 entries are no videos of this protocol: stranger")


def test_several_wrong_label_maps_of_a_video_are_named_at_once(
    maps: LabelMaps, score: Call, tmp_path: Path
) -> None:
    video = maps["101_aB-c"]
    first, second, third = FRAMES["101_aB-c"][0], FRAMES["101_aB-c"][2], FRAMES["101_aB-c"][3]
    video[first][3, 4], video[second][0, 0] = 130, 131
    video[third] = video[third][:-1]
    code, text, out = score(write_png(maps, tmp_path / "maps"))
    assert code == 2 and "3 label maps of video '101_aB-c' are wrong" in text
    for frame, what in ((first, "the label 130"), (second, "the label 131"), (third, "label map of 23x40")):
        assert any(frame in line and what in line for line in text.splitlines())
    assert "allowed: 0 to 123" in text and not list(Path(out).rglob("*.json"))


def test_no_more_than_ten_wrong_label_maps_are_named(tmp_path: Path) -> None:
    root = make_vspw(tmp_path / "data", {"long": 14}, images=False)
    maps = random_maps({"long": [f"{t + 1:08d}" for t in range(14)]}, 124, SIZE)
    for label_map in maps["long"].values():
        label_map[0, 0] = 200
    folder = write_png(maps, tmp_path / "maps")
    with pytest.raises(UserError, match="at least 10 label maps of video 'long' are wrong") as caught:
        score_folder(folder, PROTOCOL, data_root=root, jobs=1, out=tmp_path / "run")
    assert str(caught.value).count("the label 200") == 10


def test_a_part_of_the_protocol(maps: LabelMaps, score: Call, tmp_path: Path) -> None:
    maps = {"101_aB-c": dict(list(maps["101_aB-c"].items())[:3])}
    for number, form in enumerate(("npy", "npz by frame", "list of masks")):
        (tmp_path / str(number)).mkdir()
        path = FORMS[form](maps, tmp_path / str(number))
        assert score(path, "--videos", 1, "--frames", 3, out=f"o{number}")[0] == 0
        fails(score(path, "--videos", 1, out="whole"), 3, "2 label maps are missing")


def test_other_kinds_of_files(maps: LabelMaps, score: Call, tmp_path: Path) -> None:
    (tmp_path / "maps.pt").write_bytes(b"x")
    fails(score(tmp_path / "maps.pt"), 2, "not read from such a file", ".json or .npz")
    fails(score(tmp_path / "nothing"), 2, "no folder of predictions")
    (tmp_path / "empty").mkdir()
    fails(score(tmp_path / "empty"), 3, "7 label maps are missing, in 2 videos")
    mixture = write_npy(maps, tmp_path / "m")
    (mixture / "7_short.json").write_text("[]")
    fails(score(mixture), 2, "both .json files and NumPy files")
    (mixture / "7_short.json").unlink()
    np.savez(mixture / "7_short.npz", x=np.zeros(1))
    fails(score(mixture), 2, "both 7_short.npy and 7_short.npz")


# --- run lengths --------------------------------------------------------------------------------------


def edited(maps: LabelMaps, path: Path, edit: Callable[[list[dict[str, Any]]], None]) -> Path:
    """A list of masks of which those of one frame were changed."""
    entries = json.loads(write_rle(maps, path).read_text())
    edit([e for e in entries if (e["video"], e["frame"]) == (V, F)])
    path.write_text(json.dumps(entries))
    return path


def _set(**changes: Any) -> Callable[[list[dict[str, Any]]], None]:
    return lambda masks: masks[0].update(changes)


def _segment(**changes: Any) -> Callable[[list[dict[str, Any]]], None]:
    return lambda masks: masks[0]["segmentation"].update(changes)


def _longer(masks: list[dict[str, Any]]) -> None:
    masks[0]["segmentation"]["counts"][0] += 7


WRONG_MASKS: dict[str, tuple[Callable[[list[dict[str, Any]]], None], tuple[str, ...]]] = {
    "size": (_segment(size=[10, 10]), ("10x10",)),
    "one of several sizes": (
        lambda m: m[-1]["segmentation"].update(size=[40, 24]),
        ("the size 40x24, the frame is 24x40",),
    ),
    "size of nothing": (_segment(size=[0, 40]), ("size is [0, 40]",)),
    "size of no numbers": (_segment(size="24x40"), ("size is 24x40",)),
    "huge": (_segment(size=[10**6, 10**6]), ("more than 100,000,000 pixels",)),
    "length": (_longer, ("add up to 967 pixels", "24x40 has 960")),
    "negative run": (_segment(counts=[970, -10]), ("a run of -10",)),
    "no integers": (_segment(counts=[1.5, 958.5]), ("neither a text nor a list of integers",)),
    "damaged text": (_segment(counts="P~~~!"), ("compressed counts are damaged",)),
    "text that stops": (_segment(counts="0P"), ("compressed counts are damaged",)),
    "empty text": (_segment(counts=""), ("compressed counts are damaged",)),
    "polygons": (_set(segmentation=[[0, 0, 5, 5, 0, 5]]), ("polygons",)),
    "no mask": (_set(segmentation=None), ("no {size, counts}",)),
    "category": (_set(category_id=124), ("category 124 is outside the vocabulary", "0 to 123")),
    "category as text": (_set(category_id="5"), ("category '5' is no vocabulary index",)),
    "pixels twice": (
        lambda m: m[0].update(segmentation={"size": [24, 40], "counts": [0, 960]}),
        ("covered twice", "category ", "where"),
    ),
}


@pytest.mark.parametrize("name", WRONG_MASKS)
def test_wrong_masks(name: str, maps: LabelMaps, score: Call, tmp_path: Path) -> None:
    edit, words = WRONG_MASKS[name]
    fails(score(edited(maps, tmp_path / "x.json", edit)), 2, f"video '{V}', frame '{F}'", *words)


def test_both_masks_of_a_pixel_are_named(score: Call, tmp_path: Path) -> None:
    maps = {v: {f: np.zeros(SIZE, np.uint8) for f in frames} for v, frames in FRAMES.items()}
    path = write_rle(maps, tmp_path / "x.json")
    mask = np.zeros(SIZE, bool)
    mask[5, 6] = True
    extra = {"video": V, "frame": F, "category_id": 17}
    extra["segmentation"] = {"size": list(SIZE), "counts": runs_of(mask)}
    path.write_text(json.dumps([*json.loads(path.read_text()), extra]))
    names = load_protocol(PROTOCOL).vocabulary.names
    fails(score(path), 2, f"by category 0 ({names[0]}) and category 17 ({names[17]})", f"'{V}', frame '{F}'")


WRONG_JSON = {
    "cut off": (lambda text: text[:-40], "not JSON"),
    "empty": (lambda text: "", "a list or an object is expected"),
    "a number": (lambda text: "17", "a list or an object is expected"),
    "no masks": (lambda text: "[1, 2]", "a mask must be an object"),
    "nameless": (lambda text: '[{"category_id": 3}]', "a mask names no frame"),
    "numbered images without a list": (
        lambda text: '[{"image_id": 17, "category_id": 3}]',
        "image_id 17 is not among the 0 'images'",
    ),
    "a path without its video": (
        lambda text: '[{"file_name": "origin/val/00000001.jpg", "category_id": 3}]',
        "does not say which video",
    ),
    "a category without name": (
        lambda text: '{"categories": [{"id": 3}], "annotations": []}',
        "'categories' lacks 'id'",
    ),
    "a picture without number": (lambda text: '{"images": [{"file_name": "a/b"}]}', "has no id"),
    "another vocabulary": (
        lambda text: (
            '{"info": {"format": "ovbench-rle", "vocabulary": "x", "protocol": {"id": "camvid-11"}}}'
        ),
        "info.vocabulary is 'x', of protocol 'camvid-11'",
    ),
    "a vocabulary of one's own making": (
        lambda text: (
            '{"info": {"format": "ovbench-rle", "vocabulary": "mine", "protocol": {"id": "vspw-80-44-gzs"}}}'
        ),
        "leave info.vocabulary out",
    ),
}


@pytest.mark.parametrize("name", WRONG_JSON)
def test_wrong_json(name: str, maps: LabelMaps, score: Call, tmp_path: Path) -> None:
    change, word = WRONG_JSON[name]
    path = write_rle(maps, tmp_path / "x.json")
    path.write_text(change(path.read_text()))
    result = score(path)
    fails(result, 2, word, "x.json")
    assert not Path(result[2]).exists()


def test_info_is_optional(maps: LabelMaps, score: Call, tmp_path: Path) -> None:
    path = write_coco(maps, tmp_path / "x.json")
    whole = json.loads(path.read_text())
    found = []
    for number, info in enumerate((None, {}, {"format": "ovbench-rle", "protocol": {"id": PROTOCOL}})):
        path.write_text(json.dumps({k: v for k, v in {**whole, "info": info}.items() if v is not None}))
        code, err, out = score(path, out=f"o{number}")
        assert code == 0, err
        found.append(counts(out))
    assert found[0] == found[1] or all(v["joint"] == found[1][k]["joint"] for k, v in found[0].items())


def test_messages_name_the_file_and_what_is_likely_wrong(
    maps: LabelMaps, score: Call, tmp_path: Path
) -> None:
    maps[V][F][0, 0] = 124  # the last raw id of VSPW, one past the last position
    folder = write_png(maps, tmp_path / "p")
    file = str(folder / V / f"{F}.png")
    found = score(folder)
    fails(found, 2, "the predictions hold the label 124", file, "protocols show", "124 is a raw id")
    maps[V][F] = np.zeros((22, 40), np.uint8)
    fails(score(write_png(maps, folder), out="o2"), 2, "the predictions hold a label map of 22x40", file)
    (folder / V / f"{F}.png").rename(folder / V / f"{F}.jpg")
    fails(score(folder, out="o3"), 3, f"{V}/{F}.png", "JPEG is lossy")


def test_a_failed_attempt_leaves_nothing_of_its_own(maps: LabelMaps, score: Call, tmp_path: Path) -> None:
    maps["101_aB-c"]["00000002"][0, 0] = 200
    folder = write_png(maps, tmp_path / "p")
    fails(score(folder, out="deep/er/out"), 2, "label 200")
    assert not (tmp_path / "deep").exists()
    (tmp_path / "mine").mkdir()
    fails(score(folder, out="mine"), 2, "label 200")
    assert list((tmp_path / "mine").iterdir()) == []
    maps["101_aB-c"]["00000002"][0, 0] = 0
    maps[V][F][0, 0] = 200
    code, err, out = score(write_png(maps, folder), out="later")
    assert code == 2 and "1 of 2 videos are finished and kept" in err
    assert (Path(out) / "records/101_aB-c.json").is_file()


def test_scored_label_maps_get_a_name(maps: LabelMaps, score: Call, tmp_path: Path) -> None:
    folder = write_png(maps, tmp_path / "maps-of-x")
    for name, more in (("maps-of-x", ()), ("x, epoch 3", ("--name", "x, epoch 3"))):
        out = Path(score(folder, *more)[2])
        for file in ("manifest.json", "summary.json"):
            assert json.loads((out / file).read_text())["method"]["source"] == name
    fails(score(folder, "--name", "a\nb", out="o2"), 2, "--name")


def test_unknown_category_names(maps: LabelMaps, score: Call, tmp_path: Path) -> None:
    categories = [{"id": i, "name": f"thing {i}"} for i in range(124)]
    path = write_coco(maps, tmp_path / "x.json", categories)
    fails(score(path), 2, "unknown category name 'thing ", "video '101_aB-c'")


def test_a_frame_of_other_alone(maps: LabelMaps, score: Call, tmp_path: Path) -> None:
    maps[V][F][:] = OTHER
    assert score(write_coco(maps, tmp_path / "x.json"))[0] == 0  # "images" lists it
    fails(score(write_rle(maps, tmp_path / "y.json"), out="o2"), 3, f"{V}/{F}")
    path = edited(maps, tmp_path / "z.json", lambda masks: None)
    whole = {
        "video": V,
        "frame": F,
        "category_id": OTHER,
        "segmentation": {"size": list(SIZE), "counts": [0, 960]},
    }
    path.write_text(json.dumps([*json.loads(path.read_text()), whole]))
    _, _, out = score(path, out="o3")
    assert counts(out) == counts(str(Path(out).parent / "out"))


# --- NumPy --------------------------------------------------------------------------------------------


def test_arrays_that_are_no_label_maps(maps: LabelMaps, score: Call, tmp_path: Path) -> None:
    def changed(edit: Callable[[np.ndarray], Any], dtype: Any = np.float64) -> Path:
        write_npy(maps, tmp_path / "n", dtype)
        values = np.load(tmp_path / f"n/{V}.npy")
        result = edit(values)
        np.save(tmp_path / f"n/{V}.npy", values if result is None else result, allow_pickle=True)
        return tmp_path / "n"

    def put(value: float) -> Callable[[np.ndarray], Any]:
        return lambda a: a.__setitem__((1, 2, 3), value)

    here = f"video '{V}', frame '{F}'"
    fails(score(changed(put(np.nan)), out="1"), 2, here, "not finite: nan at row 2, column 3")
    fails(score(changed(put(-np.inf)), out="2"), 2, here, "not finite: -inf")
    fails(score(changed(put(0.25)), out="3"), 2, here, "0.25, which is no vocabulary index")
    fails(score(changed(put(-1), np.int32), out="4"), 2, here, "label -1")
    fails(score(changed(put(70000), np.int64), out="5"), 2, here, "label 70000")
    fails(score(changed(put(1e30)), out="6"), 2, here, "does not fit")
    fails(score(changed(lambda a: a.astype(object)), out="7"), 2, "Python objects (a pickle)", f"{V}.npy")
    fails(score(changed(lambda a: a.astype(str)), out="8"), 2, "values of type <U")
    fails(score(changed(lambda a: a.astype(complex)), out="9"), 2, "values of type complex")
    fails(score(changed(lambda a: a[..., None]), out="10"), 2, "must be (frames, height, width)")
    fails(
        score(changed(lambda a: np.concatenate([a, a])), out="11"),
        2,
        f"the array of video '{V}' holds 4 maps, the video has 2 frames",
    )
    fails(score(changed(lambda a: a[:1]), out="12"), 3, f"{V}/{F}", "holds 1 maps, the video has 2 frames")
    np.savez(tmp_path / f"n/{V}.npz", some=maps[V][F])
    (tmp_path / f"n/{V}.npy").unlink()
    fails(score(tmp_path / "n", out="13"), 2, "some", "a single array named `label_maps`")


def test_nothing_is_ever_unpickled(maps: LabelMaps, score: Call, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "run",)

    write_npy(maps, tmp_path / "n")
    np.save(tmp_path / f"n/{V}.npy", np.array([Trap()], object), allow_pickle=True)
    fails(score(tmp_path / "n"), 2, "Python objects")
    np.savez(tmp_path / "x.npz", **{V: np.array([Trap()], object)})
    fails(score(tmp_path / "x.npz"), 2)
    assert not (tmp_path / "run").exists()


def test_damaged_arrays(maps: LabelMaps, score: Call, tmp_path: Path) -> None:
    path = write_npy(maps, tmp_path / "n") / f"{V}.npy"
    data = path.read_bytes()
    for number, broken in enumerate(
        (data[:-5], data + b"x", data[:40], b"", b"\x93NUMPY\x09\x00" + data[8:])
    ):
        path.write_bytes(broken)
        fails(score(tmp_path / "n", out=str(number)), 2, f"{V}.npy")
    npz = write_npz(maps, tmp_path / "z") / f"{V}.npz"
    data = npz.read_bytes()
    for number, broken in enumerate((data[:-30], b"PK", data[:60] + bytes(20) + data[80:])):
        npz.write_bytes(broken)
        fails(score(tmp_path / "z", out=f"z{number}"), 2, f"{V}.npz")
    with zipfile.ZipFile(npz, "w") as archive:
        archive.writestr("readme.txt", "x")
    fails(score(tmp_path / "z"), 2, "'readme.txt' in it is no array")


def test_a_video_twice_in_one_file(maps: LabelMaps, score: Call, tmp_path: Path) -> None:
    arrays = {V: np.stack(list(maps[V].values())), f"{V}/{F}": maps[V][F]}
    np.savez(tmp_path / "x.npz", **arrays)
    fails(score(tmp_path / "x.npz"), 2, "both as a stack and frame by frame")


def test_changed_files_are_scored_anew(maps: LabelMaps, score: Call, tmp_path: Path) -> None:
    for number, form in enumerate(("list of masks", "JSON per video", "npy", "one npz")):
        for step in ("before", "after"):
            folder = tmp_path / str(number) / step
            folder.mkdir(parents=True)
            path = FORMS[form](maps, folder)
            if step == "before":
                assert score(path, out=f"o{number}")[0] == 0
                maps[V][F] = (maps[V][F] == 0).astype(np.uint8)
            else:
                found = score(path, out=f"o{number}")
                assert found[0] == 2 and "another run; what differs:" in found[1] and "source" in found[1]
        maps[V][F] = np.roll(maps[V][F], 1) + np.uint8(1)


def test_several_workers_say_it_once(maps: LabelMaps, score: Call, tmp_path: Path) -> None:
    maps[V][F][3, 4] = 200
    maps["101_aB-c"]["00000003"][3, 4] = 201
    fails(score(write_npz(maps, tmp_path / "n"), "--jobs", 2), 2, "outside the vocabulary")


def test_stacks_where_one_frame_is_labelled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without photographs only the labelled frame of a snippet is known: a longer stack must not be misread."""
    data = make_cityscapes(tmp_path / "data", {"ulm": [(0, 19)]})
    video, frames = "ulm_000000_000019", [f"ulm_000000_{t:06d}" for t in range(30)]
    maps = random_maps({video: frames}, 19, SIZE)
    whole = write_npy(maps, tmp_path / "whole")
    alone = write_npy({video: {frames[19]: maps[video][frames[19]]}}, tmp_path / "alone")
    named = write_npz({video: {frames[19]: maps[video][frames[19]]}}, tmp_path / "named")

    def score(predictions: Path, out: str) -> tuple[int, str, str]:
        arguments = (
            "score",
            "--predictions",
            predictions,
            "--protocol",
            "cityscapes-19",
            "--data-root",
            data,
        )
        code = _run([str(a) for a in (*arguments, "--jobs", 1, "--out", tmp_path / out)])
        return code, capsys.readouterr().err, str(tmp_path / out)

    found = [score(whole, "a"), score(named, "b")]
    fails(score(alone, "c"), 3, f"1 label maps are missing, in 1 videos: {video}/{frames[19]}")
    shutil.rmtree(data / "leftImg8bit_sequence")
    found += [score(alone, "d"), score(named, "e")]
    fails(score(whole, "f"), 2, f"video '{video}' holds 30 maps, the video has 1 frames", "its frame's name")
    assert [code for code, _, _ in found] == [0, 0, 0, 0]
    assert len({json.dumps(counts(out)[video]["joint"]) for _, _, out in found}) == 1
