from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from make_trees import (
    CAMVID_IDS,
    VSPW_IDS,
    make_camvid,
    make_cityscapes,
    make_protocol,
    make_vspw,
    paint,
    save_image,
    save_palette,
    scene,
)
from PIL import Image

from ovbench.cli.data import _Progress
from ovbench.cli.main import main
from ovbench.core.errors import UserError
from ovbench.datasets.verify import Finding, verify
from ovbench.protocol.load import load_protocol
from ovbench.protocol.schema import DatasetSpec

VSPW = make_protocol("vspw", VSPW_IDS[:18], ignore_ids=(0, 252, 253, 254, 255))
VIDEOS = {"a": 20, "b": 20, "c": 20}
"""Three videos of six ids each show the eighteen classes of `VSPW`."""


def of(findings: list[Finding], severity: str) -> list[Finding]:
    return [f for f in findings if f.severity == severity]


def test_a_clean_tree_has_nothing_to_say(tmp_path: Path) -> None:
    make_vspw(tmp_path, VIDEOS, ids=VSPW_IDS[:18])
    (only,) = verify(VSPW, tmp_path)
    assert only.severity == "info" and "3 videos, 60 frames, 60 masks" in only.what


def test_oddities_of_vspw_are_reported_and_harmless(tmp_path: Path) -> None:
    make_vspw(tmp_path, {"a": 16, "b": 20, "c": 7}, ids=VSPW_IDS[:18], oddities=True)
    findings = verify(VSPW, tmp_path)
    assert not of(findings, "error")
    text = "\n".join(f.what for f in findings)
    for part in (
        "'a' is listed again",
        "'c' is listed again",
        "no newline",
        "2 hidden files: .DS_Store, ._00000001.png",
        "video 'b': 1 of 20 frames have no mask, first '00000002'",
        "7 frames, fewer than a window of 8 or 16",
        "3 videos, 43 frames, 42 masks",
    ):
        assert part in text, part


def _delete_image(root: Path) -> None:
    (root / "data" / "a" / "origin" / "00000004.jpg").unlink()


def _delete_masks(root: Path) -> None:
    for path in (root / "data" / "b" / "mask").iterdir():
        path.unlink()


def _delete_frames(root: Path) -> None:
    _delete_masks(root)
    for path in (root / "data" / "b" / "origin").iterdir():
        path.unlink()


def _truncate_image(root: Path) -> None:
    path = root / "data" / "a" / "origin" / "00000002.jpg"
    path.write_bytes(path.read_bytes()[:200])


def _truncate_mask(root: Path) -> None:
    path = root / "data" / "a" / "mask" / "00000002.png"
    path.write_bytes(path.read_bytes()[:60])


def _resize_mask(root: Path) -> None:
    save_palette(root / "data" / "a" / "mask" / "00000002.png", scene([1], 1, size=(20, 40))[0])


def _resize_image(root: Path) -> None:
    save_image(root / "data" / "a" / "origin" / "00000002.jpg", paint(scene([1], 1, size=(24, 32))[0]))


def _illegal_ids(root: Path) -> None:
    for t in (2, 5):
        save_palette(root / "data" / "a" / "mask" / f"{t:08d}.png", scene([200], 1)[0])


def _sixteen_bit_id(root: Path) -> None:
    Image.fromarray(np.full((24, 40), 999, np.uint16)).save(root / "data" / "a" / "mask" / "00000002.png")


def _colour_mask(root: Path) -> None:
    save_image(root / "data" / "a" / "mask" / "00000002.png", paint(scene([1], 1)[0]))


def _same_stem(root: Path) -> None:
    save_image(root / "data" / "a" / "origin" / "00000002.png", paint(scene([1], 1)[0]))


def _missing_video(root: Path) -> None:
    (root / "val.txt").write_text("a\nb\nc\nlost\n")


DAMAGES: list[tuple[Callable[[Path], None], str, str]] = [
    (_delete_image, "no image for 1 masks, first for frame '00000004'", "data/a/origin"),
    (_delete_masks, "video 'b' has no masks", "data/b/mask"),
    (_delete_frames, "video 'b' has no frames", "data/b/origin"),
    (_truncate_image, "truncated or unreadable image", "data/a/origin/00000002.jpg"),
    (_truncate_mask, "truncated or unreadable mask", "data/a/mask/00000002.png"),
    (_resize_mask, "mask of 40x20 pixels in a video of 40x24", "data/a/mask/00000002.png"),
    (_resize_image, "image of 32x24 pixels in a video of 40x24", "data/a/origin/00000002.jpg"),
    (_illegal_ids, "id 200 is neither a class nor an ignore id", "data/a/mask/00000002.png"),
    (_sixteen_bit_id, "id 999 is neither", "data/a/mask/00000002.png"),
    (_colour_mask, "colour mask (RGB)", "data/a/mask/00000002.png"),
    (_same_stem, "frame '00000002' exists 2 times", "data/a/origin"),
    (_missing_video, "1 of 4 listed videos are missing, first 'lost'", ""),
]


@pytest.mark.parametrize(("damage", "what", "where"), DAMAGES, ids=lambda d: getattr(d, "__name__", ""))
def test_each_damage_is_one_error_with_a_place_and_advice(
    tmp_path: Path, damage: Callable[[Path], None], what: str, where: str
) -> None:
    make_vspw(tmp_path, VIDEOS, ids=VSPW_IDS[:18])
    damage(tmp_path)
    errors = of(verify(VSPW, tmp_path), "error")
    matching = [e for e in errors if what in e.what]
    assert len(matching) == 1, errors
    assert matching[0].where.endswith(where) and matching[0].hint
    assert len(errors) == (2 if damage is _delete_frames else 1)


def test_repeated_findings_are_counted(tmp_path: Path) -> None:
    make_vspw(tmp_path, VIDEOS, ids=VSPW_IDS[:18])
    _illegal_ids(tmp_path)
    (error,) = of(verify(VSPW, tmp_path), "error")
    assert "(2 files, the first shown)" in error.what


def test_classes_that_never_occur_are_named(tmp_path: Path) -> None:
    make_vspw(tmp_path, {"a": 20}, ids=VSPW_IDS[:18])
    (warning,) = of(verify(VSPW, tmp_path), "warning")
    assert "12 of 18 scored classes never occur: class-7," in warning.what


def test_an_empty_or_foreign_root_is_a_finding(tmp_path: Path) -> None:
    (finding,) = verify(VSPW, tmp_path)
    assert finding.severity == "error" and "not the layout of vspw" in finding.what
    make_vspw(tmp_path, {"a": 1})
    (tmp_path / "val.txt").write_text("")
    (finding,) = verify(VSPW, tmp_path)
    assert "empty" in finding.what
    with pytest.raises(UserError, match="no data root"):
        verify(VSPW, None)


def test_an_unsafe_name_in_the_list_is_a_finding(tmp_path: Path) -> None:
    make_vspw(tmp_path, {"a": 1})
    (tmp_path / "val.txt").write_text("../a\n")
    assert "cannot be used as a file name" in verify(VSPW, tmp_path)[0].what


def test_cityscapes(tmp_path: Path) -> None:
    protocol = make_protocol("cityscapes", range(18), windows=())
    make_cityscapes(tmp_path, oddities=True)
    findings = verify(protocol, tmp_path)
    assert [e.what for e in of(findings, "error")] == [
        "id 18 is neither a class nor an ignore id of protocol 'test-cityscapes'"
    ] or not of(findings, "error")
    assert sum("hidden file" in f.what for f in findings) == 3
    photo = tmp_path / "leftImg8bit_sequence" / "val" / "munster" / "munster_000003_000007_leftImg8bit.png"
    photo.unlink()
    text = [f.what for f in of(verify(protocol, tmp_path), "warning")]
    assert "snippet 'munster_000003_000019' has 29 of 30 frames" in text


def test_camvid(tmp_path: Path) -> None:
    protocol = make_protocol("camvid", CAMVID_IDS, ignore_ids=(11,))
    make_camvid(tmp_path, {"0016E5": range(0, 40, 2), "0006R0": range(0, 600, 30)}, oddities=True)
    findings = verify(protocol, tmp_path)
    assert not of(findings, "error") and "2 videos, 40 frames" in findings[-1].what
    assert sum(".DS_Store" in f.what for f in findings) == 2


def test_the_world_is_what_its_generator_says() -> None:
    spec = DatasetSpec("world", "test", "train", {"track": "attribute"}, ("test-000", "test-001"))
    seen: list[tuple[int, int, str]] = []
    protocol = dataclasses.replace(load_protocol("world-27-9"), dataset=spec)
    findings = verify(protocol, None, progress=lambda *step: seen.append(step))
    assert [f.severity for f in findings] == ["info"] and "2 clips" in findings[0].what
    assert seen == [(0, 2, "test-000"), (1, 2, "test-001")]
    foreign = make_protocol("world", range(1, 9), ignore_ids=(0,), dataset=spec)
    assert "not declared" in of(verify(foreign, None), "error")[0].what


def test_a_spoilt_cache_of_the_world_is_found(ovbench_cache: Path) -> None:
    spec = DatasetSpec("world", "test", None, {"track": "pairs"}, ("test-002",))
    protocol = dataclasses.replace(load_protocol("world-27-9-hard"), dataset=spec)
    assert len(verify(protocol, None)) == 1
    (path,) = ovbench_cache.rglob("pairs-test-002*")
    clip = np.load(path)
    clip[0, 0, 0, 0] ^= 1
    np.save(path, clip)
    try:
        (error,) = of(verify(protocol, None), "error")
        assert "differs from the one the generator makes" in error.what
    finally:
        path.unlink()


@pytest.mark.parametrize(
    ("name", "make"),
    [("vspw-80-44-gzs", make_vspw), ("cityscapes-19", make_cityscapes), ("camvid-8-3-gzs", make_camvid)],
)
def test_shipped_protocols_accept_their_trees(tmp_path: Path, name: str, make: Callable[..., Path]) -> None:
    make(tmp_path, oddities=True)
    assert not of(verify(load_protocol(name), tmp_path), "error")


def _run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as caught:
        main(["data", "verify", *argv])
    return int(caught.value.code or 0), capsys.readouterr().out


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_vspw(tmp_path, {"a": 3})
    argv = ("--protocol", "vspw-124", "--data-root", str(tmp_path))
    code, text = _run(capsys, *argv)
    assert code == 0 and text.endswith("0 errors, 2 warnings\n")
    _colour_mask(tmp_path)
    code, text = _run(capsys, *argv)
    assert code == 2 and text.startswith("error: colour mask") and "  where: " in text and "  next:  " in text
    code, text = _run(capsys, *argv, "--format", "json")
    rows = json.loads(text)
    assert code == 2 and set(rows[0]) == {"severity", "what", "where", "hint"}
    assert _run(capsys, *argv, "--train")[0] == 2  # vspw-124 has no training split


def test_real_camvid_is_clean(camvid_root: Path) -> None:
    assert not of(verify(load_protocol("camvid-8-3-gzs"), camvid_root), "error")


def test_progress_is_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    progress = _Progress()
    progress(0, 10, "a")
    assert capsys.readouterr().err == ""
    progress._shown -= 11
    progress(5, 10, "f")
    progress.close()
    captured = capsys.readouterr()
    assert captured.err.startswith("verify: 5/10 videos, ") and captured.err.endswith("s left (f)\n")
    assert captured.out == ""


def test_a_list_shorter_than_the_published_one(tmp_path: Path) -> None:
    make_vspw(tmp_path, {"a": 20, "b": 20})
    last = verify(VSPW, tmp_path)[-1]
    assert last.severity == "info" and last.hint and "subset" in last.hint
    assert last.what.endswith("2 videos, 40 frames, 40 masks; the list names 2 videos, the published one 343")
