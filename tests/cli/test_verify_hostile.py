"""What `verify` and `table` say to runs that somebody has made up, every hash in them right."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pack_cases import LIMITS, call, forged, in_json

from ovbench.cli.main import _run
from ovbench.core.hashing import hash_json
from ovbench.core.paths import room
from ovbench.metrics.score import summarize
from ovbench.protocol.load import load_protocol
from ovbench.report.model import Run

KEPT = room("results") / "world" / "world-27-9" / "zegformer-seed0"
SUMMARY, MANIFEST, TIMING, RECORD = "summary.json", "manifest.json", "timing.json", "records/test-000.json"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OVBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two videos of six frames, with label maps, packed."""
    top = tmp_path_factory.mktemp("short")
    run = top / "short"
    assert _run(["run", "--method", "random", *LIMITS, "--save-predictions", "--out", str(run)]) == 0
    out = top / "short.zip"
    assert _run(["pack", str(run), "--with-predictions", "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two whole videos, packed."""
    top = tmp_path_factory.mktemp("few")
    arguments = ["--method", "constant", "--protocol", "world-27-9", "--videos", "2", "--jobs", "1"]
    assert _run(["run", *arguments, "--out", str(top / "few")]) == 0
    assert _run(["pack", str(top / "few"), "--out", str(top / "few.zip")]) == 0
    return top / "few.zip"


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return Path(shutil.copytree(KEPT, tmp_path / "kept"))


def both(change: Callable[[Any], object]) -> Callable[[Path], object]:
    """The same change to manifest and summary."""

    def apply(run: Path) -> None:
        for name in (MANIFEST, SUMMARY):
            in_json(name, change)(run)

    return apply


def whole(tree: Any) -> None:
    tree["partial"] = None


def summed_again(run: Path) -> None:
    """The summary that the run's records and its list of videos give."""
    read = Run.open(run)
    facts = json.loads((run / SUMMARY).read_text())["method"]
    made = summarize(load_protocol("world-27-9"), read.records, facts, expected_videos=read.videos)
    (run / SUMMARY).write_text(json.dumps(made))


def without_the_worst(run: Path) -> None:
    gone = [f"test-{i:03d}" for i in (3, 7, 11, 20)]
    in_json(MANIFEST, lambda m: m.update(videos=[v for v in m["videos"] if v not in gone]))(run)
    for video in gone:
        (run / f"records/{video}.json").unlink()
    summed_again(run)


def test_a_partial_run_made_whole_is_refused(
    few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack = shutil.copy(few, tmp_path)
    out = forged(Path(pack), both(whole), whole)
    code, said, err = call(capsys, "verify", out)
    assert code == 4 and "is whole" in err and "first 2 of 36 videos" in err and "ok" not in said
    assert call(capsys, "table", out)[0] == 2  # all runs are partial
    code, _, err = call(capsys, "table", "--partial", out)
    assert code == 4 and "first 2 of 36 videos" in err


def test_frames_left_out_are_seen(short: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def all_frames(run: Path) -> None:
        """Nothing says any more that there was a limit; keys and records fit each other."""
        manifest = json.loads((run / MANIFEST).read_text())
        manifest["key"]["frames"] = manifest["frames"] = None
        manifest.update(partial="first 2 of 36 videos", run_key=hash_json(manifest["key"]))
        (run / MANIFEST).write_text(json.dumps(manifest))
        for path in (run / "records").iterdir():
            in_json(f"records/{path.name}", lambda r: r.update(run_key=manifest["run_key"]))(run)
        in_json(SUMMARY, lambda s: s.update(partial="first 2 of 36 videos"))(run)

    out = forged(Path(shutil.copy(short, tmp_path)), all_frames)
    code, _, err = call(capsys, "verify", out)
    assert code == 4 and "12 of 40 frames" in err
    code, _, err = call(capsys, "table", "--partial", out)
    assert code == 4 and "12 of 40 frames" in err


def test_chosen_videos_are_no_whole_run(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "verify", kept)[0] == 0
    without_the_worst(kept)
    code, _, err = call(capsys, "verify", kept)
    assert code == 4 and "32 of 36 videos, not the first" in err
    code, said, _ = call(capsys, "table", kept, KEPT)
    assert code == 0 and "Left out: 1 partial run" in said
    for verb in (("table", "--partial"), ("explain",)):
        code, _, err = call(capsys, *verb, kept)
        assert code == 4 and "32 of 36 videos, not the first" in err
    code, said, _ = call(capsys, "reproduce", "table1", "--world", kept)
    assert "a partial run: 32 of 36 videos" in said


def test_a_video_of_another_split_is_refused(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    in_json(MANIFEST, lambda m: m["videos"].__setitem__(0, "train-000"))(kept)
    for verb in ("verify", "table"):
        code, _, err = call(capsys, verb, kept)
        assert code == 4 and "none of protocol 'world-27-9'" in err


def test_the_list_of_real_data_needs_the_data(
    camvid_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(room("results") / "camvid" / "majority", run)
    code, said, _ = call(capsys, "verify", run)
    assert code == 0 and "list of videos not checked" in said and "--data-root" in said
    code, said, err = call(capsys, "verify", run, "--data-root", camvid_root)
    assert code == 0 and "not checked" not in said, err
    assert call(capsys, "verify", run, "--data-root", tmp_path)[0] == 2


DEEP = "[" * 400 + "]" * 400
DEEPER = "[" * 100_000 + "]" * 100_000
SHAPES: dict[str, Callable[[Path], object]] = {
    **{
        f"{name} nested {len(text) // 2} times": (
            lambda run, name=name, text=text: (run / name).write_text(text)
        )
        for name in (MANIFEST, SUMMARY, TIMING, RECORD)
        for text in (DEEP, DEEPER)
    },
    **{
        f"{name} with a nested {key}": (
            lambda run, name=name, key=key: in_json(name, lambda v: v.update({key: json.loads(DEEP)}))(run)
        )
        for name, key in ((MANIFEST, "facts"), (SUMMARY, "counts"), (TIMING, "x"), (RECORD, "counts"))
    },
    **{
        f"{name} {'.'.join(path)} = {str(value)[:20]}": (
            lambda run, name=name, path=path, value=value: in_json(name, lambda v: _put(v, path, value))(run)
        )
        for name, path, value in (
            (MANIFEST, ("method",), [1]),
            (MANIFEST, ("method", "id"), ["x"]),
            (MANIFEST, ("method", "trained_on"), {}),
            (MANIFEST, ("protocol",), [1]),
            (MANIFEST, ("protocol", "hash"), None),
            (MANIFEST, ("options",), [1]),
            (MANIFEST, ("options", "given"), [1]),
            (MANIFEST, ("videos",), [{"a": 1}, {"b": 2}]),
            (MANIFEST, ("videos",), "test-000"),
            (MANIFEST, ("videos",), ["test-000", "test-000"]),
            (MANIFEST, ("videos",), ["../../etc"]),
            (MANIFEST, ("facts",), [1]),
            (MANIFEST, ("format",), 2),
            (MANIFEST, ("format",), [1]),
            (SUMMARY, ("method",), [1]),
            (SUMMARY, ("protocol",), [1]),
            (TIMING, ("videos",), "x"),
            (TIMING, ("frames_per_second",), "x"),
            (TIMING, ("frames_per_second",), -1),
            (TIMING, ("frames_per_second",), True),
            (TIMING, ("frames_per_second",), 10**400),
            (TIMING, ("hardware",), [1]),
            (TIMING, ("videos", "test-000"), 3),
            (RECORD, ("counts", "frames"), 10**30),
        )
    },
    "timing.json is a text": lambda run: (run / TIMING).write_text('"fast"'),
    "timing.json is infinite": in_json(TIMING, lambda t: t.update(frames_per_second=float("inf"))),
    "manifest.json is a list": lambda run: (run / MANIFEST).write_text("[1]"),
}


def _put(tree: Any, path: tuple[str, ...], value: Any) -> None:
    for key in path[:-1]:
        tree = tree[key]
    tree[path[-1]] = value


@pytest.mark.parametrize("kind", SHAPES)
def test_files_of_another_shape_are_refused(
    few: Path, tmp_path: Path, own_cache: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    out = forged(Path(shutil.copy(few, tmp_path)), SHAPES[kind])
    code, said, err = call(capsys, "verify", out)
    assert code == 4 and "ok" not in said and f"where: {out}" in err and str(own_cache) not in err, err
    assert not [p for p in own_cache.rglob("*") if p.name == "manifest.json"]
    assert call(capsys, "table", "--partial", out)[0] == 4


STATED: dict[str, tuple[Callable[[Path], object], str]] = {
    "trained_on": (both(lambda t: t["method"].update(trained_on=[])), "this installation's card.*trained_on"),
    "kind": (both(lambda t: t["method"].update(kind="video")), "this installation's card.*kind"),
    "title": (both(lambda t: t["method"].update(title="Ours")), "this installation's card.*title"),
    "the weights' name": (
        both(lambda t: t["method"].update(weights="official")),
        "no weights called 'official'",
    ),
    "an option of the method": (both(lambda t: t["method"]["options"].update(rate=9.0)), "options.*rate"),
    "a resolved option": (
        in_json(MANIFEST, lambda m: m["options"]["resolved"].update(rate=9.0)),
        "resolved.*rate",
    ),
    "an option set by hand": (
        in_json(MANIFEST, lambda m: m["options"]["given"].update(rate="9")),
        "given.*rate",
    ),
    "no such option": (in_json(MANIFEST, lambda m: m["options"]["given"].update(magic=1)), "option.*magic"),
    "untrained": (in_json(MANIFEST, lambda m: m.update(untrained=True)), "untrained"),
    "weights": (in_json(MANIFEST, lambda m: m["weights"].update(sha256="0" * 64)), "weights.*sha256"),
    "the weights' file": (in_json(MANIFEST, lambda m: m["weights"].update(file="x.pth")), "weights.*file"),
    "not shipped": (in_json(MANIFEST, lambda m: m["weights"].update(shipped=False)), "weights.*name"),
    "vocabulary": (
        in_json(MANIFEST, lambda m: m["vocabulary"].update(templates="other")),
        "vocabulary.*templates",
    ),
    "data": (in_json(MANIFEST, lambda m: m["data"].update(split="train")), "data.*split"),
    "the command's method": (
        in_json(MANIFEST, lambda m: m["sessions"][0].update(command=["ovbench", "run", "--method", "mine"])),
        "sessions.*mine",
    ),
    "the command's protocol": (
        in_json(
            MANIFEST, lambda m: m["sessions"][0].update(command=["ovbench", "run", "--protocol=vspw-124"])
        ),
        "sessions.*vspw-124",
    ),
    "no session": (in_json(MANIFEST, lambda m: m.update(sessions=[])), "sessions are not as we write them"),
    "device": (in_json(MANIFEST, lambda m: m.update(device="cuda")), "device"),
    "versions": (in_json(MANIFEST, lambda m: m["versions"].update(torch="9")), "versions.*torch"),
    "format": (in_json(MANIFEST, lambda m: m.update(format=2)), "format is 2"),
    "the protocol's id": (
        both(lambda t: t["protocol"].update(id="mine")),
        "its hash is that of 'world-27-9'",
    ),
    "the protocol's id, in one file": (
        in_json(MANIFEST, lambda m: m["protocol"].update(id="mine")),
        "protocol",
    ),
    "the protocol's hash": (both(lambda t: t["protocol"].update(hash="0" * 64)), "of the protocol that hash"),
    "the protocol's version": (both(lambda t: t["protocol"].update(version=7)), "version is 7"),
    "a limit that is none": (both(lambda t: t.update(partial="first 3 of 36 videos")), "is partial"),
}


@pytest.mark.parametrize("kind", STATED)
def test_statements_that_do_not_fit_are_refused(
    kept: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    change, reason = STATED[kind]
    change(kept)
    code, said, err = call(capsys, "verify", kept)
    assert code == 4 and re.search(reason, err) and "ok" not in said, err


def test_options_moved_out_of_sight_are_found(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Set by hand, key and records right, but not under `given`, which tables name."""
    manifest = json.loads((kept / MANIFEST).read_text())
    for options in (
        manifest["key"]["options"],
        manifest["options"]["resolved"],
        manifest["method"]["options"],
    ):
        options["calibration"] = 0.5
    manifest["run_key"] = hash_json(manifest["key"])
    (kept / MANIFEST).write_text(json.dumps(manifest))
    in_json(SUMMARY, lambda s: s["method"]["options"].update(calibration=0.5))(kept)
    for path in (kept / "records").iterdir():
        in_json(f"records/{path.name}", lambda r: r.update(run_key=manifest["run_key"]))(kept)
    code, _, err = call(capsys, "verify", kept)
    assert code == 4 and "under `given`" in err and "calibration" in err
    in_json(MANIFEST, lambda m: m["options"]["given"].update(calibration="0.5"))(kept)
    assert call(capsys, "verify", kept)[0] == 0


def test_a_method_without_a_card_here_is_said(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = json.loads((kept / MANIFEST).read_text())
    manifest["key"]["method"] = manifest["method"]["id"] = "theirs"
    manifest["sessions"][0]["command"] = []
    manifest["run_key"] = hash_json(manifest["key"])
    (kept / MANIFEST).write_text(json.dumps(manifest))
    in_json(SUMMARY, lambda s: s["method"].update(id="theirs"))(kept)
    for path in (kept / "records").iterdir():
        in_json(f"records/{path.name}", lambda r: r.update(run_key=manifest["run_key"]))(kept)
    code, said, err = call(capsys, "verify", kept)
    assert code == 0 and "no card of method 'theirs' is here" in said, err


def test_label_maps_of_no_video(short: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pack = Path(shutil.copy(short, tmp_path))

    def evil(run: Path) -> None:
        (run / "predictions/zz").mkdir()
        (run / "predictions/zz/evil.png").write_bytes(b"MZ")

    out = forged(pack, evil)
    for verb in (("verify",), ("table", "--partial")):
        code, _, err = call(capsys, *verb, out)
        assert code == 4 and "predictions/zz/evil.png" in err
    folder = tmp_path / "forged"
    (folder / "pack.json").unlink()
    assert "label maps of no video" in call(capsys, "verify", folder)[2]
    shutil.rmtree(folder / "short/predictions/zz")
    assert call(capsys, "verify", folder)[0] == 0
    (folder / "short/predictions/test-000/notes.txt").write_text("x")
    assert call(capsys, "verify", folder)[0] == 4


def test_label_maps_only_claimed(
    short: Path, few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    none = forged(Path(shutil.copy(short, tmp_path)), lambda run: shutil.rmtree(run / "predictions"))
    code, _, err = call(capsys, "verify", none)
    assert code == 4 and "label_maps is True; it holds no label maps" in err
    hidden = forged(
        Path(shutil.copy(short, tmp_path)), lambda run: None, lambda a: a.update(label_maps=False)
    )
    assert "it holds label maps" in call(capsys, "verify", hidden)[2]
    silent = forged(Path(shutil.copy(few, tmp_path)), lambda run: None, lambda a: a.pop("label_maps"))
    assert call(capsys, "verify", silent)[0] == 4


def test_nothing_is_left_unpacked(
    few: Path, tmp_path: Path, own_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = forged(Path(shutil.copy(few, tmp_path)), in_json(RECORD, lambda r: r["counts"].update(width=3)))
    below = tmp_path / "submitted"
    below.mkdir()
    shutil.copy(out, below / "a.zip")
    in_json(RECORD, lambda r: r.update(run_key="0" * 64))(tmp_path / "forged/few")
    wrong = forged(Path(shutil.copy(few, tmp_path)), in_json(RECORD, lambda r: r.update(run_key="0" * 64)))
    code, _, err = call(capsys, "verify", wrong)
    assert code == 4 and f"where: {wrong}: few/{RECORD}" in err and "from who made it" in err
    shutil.copy(wrong, below / "b.zip")
    code, _, err = call(capsys, "verify", below)
    assert code == 4 and "submitted" in err and str(own_cache) not in err
    assert not list(own_cache.glob("packs/*"))
    assert call(capsys, "verify", few)[0] == 0 and list(own_cache.glob("packs/*"))


def test_a_linked_record_is_refused(kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = kept / RECORD
    shutil.move(record, tmp_path / "elsewhere.json")
    record.symlink_to(tmp_path / "elsewhere.json")
    assert call(capsys, "verify", kept)[0] == 4
    code, _, err = call(capsys, "pack", kept, "--out", tmp_path / "x.zip")
    assert code == 4 and "it is a link" in err and not (tmp_path / "x.zip").exists()


def test_a_damaged_label_map_of_a_run_is_no_mistake_of_the_user(
    short: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(short.parent / "short", tmp_path / "run"))
    next((folder / "predictions/test-000").glob("*.png")).write_bytes(b"PNG")
    code, _, err = call(capsys, "show", folder, "--video", "test-000", "--out", tmp_path / "x.png")
    assert code == 4 and "cannot be used" in err, err


def test_a_name_too_long_for_a_file_system(
    few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, long = forged(Path(shutil.copy(few, tmp_path)), lambda run: None), "v" * 260
    data = out.read_bytes()
    with zipfile.ZipFile(out) as old, zipfile.ZipFile(tmp_path / "long.zip", "w") as new:
        for name in old.namelist():
            text = old.read(name).replace(b"records/test-000.json", f"records/{long}.json".encode())
            new.writestr(name.replace("test-000", long), text)
    assert data
    code, _, err = call(capsys, "verify", tmp_path / "long.zip")
    assert code == 4 and "not one that a pack holds" in err
