"""`pack` and `verify` as two people meet them: one sends a run, the other checks it and puts it into a table."""

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


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("runs")
    for method in ("random", "constant"):
        arguments = ["run", "--method", method, *LIMITS, "--save-predictions", "--out", str(top / method)]
        assert _run(arguments) == 0
    return top


@pytest.fixture
def pack(runs: Path, tmp_path: Path) -> Path:
    out = tmp_path / "random.zip"
    assert _run(["pack", str(runs / "random"), "--with-predictions", "--out", str(out)]) == 0
    return out


def a_count(record: Any) -> None:
    record["counts"]["frames"] += 1


def a_method(manifest: Any) -> None:
    manifest["method"]["id"] = "maskclip"


def a_method_and_its_key(manifest: Any) -> None:
    a_method(manifest)
    manifest["key"]["method"] = "maskclip"
    manifest["run_key"] = hash_json(manifest["key"])


def other_label_map(run: Path) -> None:
    maps = sorted((run / "predictions/test-000").glob("*.png"))
    maps[0].write_bytes(maps[1].read_bytes())


FORGED: dict[str, tuple[Callable[[Path], object], str]] = {
    "a score": (in_json("summary.json", lambda s: s["scores"]["all"].update(miou=99.0)), "the records give"),
    "an interval": (
        in_json("summary.json", lambda s: s["intervals"].update(seed=s["intervals"]["seed"] + 1)),
        "the records give",
    ),
    "a count": (in_json("records/test-000.json", a_count), "damaged|the records give"),
    "a record of another video": (
        lambda run: (run / "records/test-000.json").write_bytes((run / "records/test-001.json").read_bytes()),
        "record of video",
    ),
    "a record of another run": (
        in_json("records/test-001.json", lambda r: r.update(run_key="0" * 64)),
        "another run",
    ),
    "the method's name": (in_json("manifest.json", a_method), "method"),
    "the method's name and key": (in_json("manifest.json", a_method_and_its_key), "says of the method"),
    "the key": (in_json("manifest.json", lambda m: m.update(run_key="0" * 64)), "run key is not the hash"),
    "untrained": (in_json("manifest.json", lambda m: m["method"].update(untrained=True)), "untrained"),
    "the protocol": (in_json("manifest.json", lambda m: m["protocol"].update(hash="0" * 64)), "protocol"),
    "a label map": (other_label_map, "not those that were counted"),
    "a label map that is none": (
        lambda run: next((run / "predictions/test-000").glob("*.png")).write_bytes(b"PNG"),
        "label map is damaged",
    ),
}


@pytest.mark.parametrize("kind", FORGED)
def test_what_fits_its_hash_but_not_the_rest_is_refused(
    pack: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    change, reason = FORGED[kind]
    code, out, err = call(capsys, "verify", forged(pack, change))
    assert code == 4, (out, err)
    assert re.search(reason, err) and "ok" not in out


@pytest.mark.parametrize(
    "name", ["random/records/test-000.json", "random/summary.json", "random/manifest.json"]
)
def test_a_changed_file_is_named(pack: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    out = pack.with_name("changed.zip")
    with zipfile.ZipFile(pack) as old, zipfile.ZipFile(out, "w") as new:
        for info in old.infolist():
            data = old.read(info)
            new.writestr(info, data + b" " if info.filename == name else data)
    for verb in (("verify",), ("table", "--partial"), ("explain",)):
        code, _, err = call(capsys, *verb, out)
        assert code == 4 and name in err


def test_a_pack_stands_for_its_runs(
    runs: Path, pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = call(capsys, "verify", pack)
    assert code == 0, err
    assert "pack of 1 run, " in out and "12 label maps as counted" in out
    assert call(capsys, "verify", runs / "random")[0] == 0

    plain = call(capsys, "table", "--partial", runs / "random", runs / "constant")
    packed = call(capsys, "table", "--partial", pack, runs / "constant")
    assert plain == packed and plain[0] == 0
    one = call(capsys, "compare", runs / "random", runs / "constant")
    assert call(capsys, "compare", pack, runs / "constant") == one
    assert call(capsys, "explain", pack)[0] == 0
    folder = tmp_path / "results"
    folder.mkdir()
    shutil.copy(pack, folder)
    shutil.copytree(runs / "constant", folder / "constant")
    code, out, _ = call(capsys, "table", "--partial", folder)
    assert code == 0 and "random" in out and "constant" in out
    assert call(capsys, "score", "--predictions", pack, *LIMITS, "--out", tmp_path / "again")[0] == 0
    again, first = (
        json.loads((p / "summary.json").read_text()) for p in (tmp_path / "again", runs / "random")
    )
    assert again["scores"] == first["scores"]


def test_many_runs_in_one_pack(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = tmp_path / "both.zip"
    code, out, _ = call(capsys, "pack", runs, "--out", both)
    assert code == 0 and out.splitlines()[-1] == str(both)
    with zipfile.ZipFile(both) as archive:
        assert not [name for name in archive.namelist() if "predictions" in name]
        archive.extractall(tmp_path / "unpacked")
    assert call(capsys, "verify", both)[1] == call(capsys, "verify", tmp_path / "unpacked")[1]
    code, _, err = call(capsys, "compare", both, runs / "random")
    assert code == 2 and "holds runs" in err
    (tmp_path / "unpacked/random/records/test-000.json").write_text("{}")
    assert call(capsys, "verify", tmp_path / "unpacked")[0] == 4


def test_what_cannot_be_packed(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy, out = tmp_path / "copy", tmp_path / "x.zip"
    shutil.copytree(runs / "random", copy)
    shutil.rmtree(copy / "predictions")
    for arguments, code, reason in (
        ((copy, "--with-predictions", "--out", out), 2, "saved no label maps"),
        ((copy, "--out", tmp_path / "x.tar"), 2, ".zip"),
        ((tmp_path / "nowhere", "--out", out), 2, "no such file"),
        (
            (runs / "random", shutil.copytree(runs / "random", tmp_path / "b/random"), "--out", out),
            2,
            "two of",
        ),
    ):
        found, _, err = call(capsys, "pack", *arguments)
        assert found == code and reason in err, err
    summary = copy / "summary.json"
    summary.write_text(summary.read_text().replace('"complete": true', '"complete": false'))
    assert call(capsys, "pack", copy, "--out", out)[0] == 4
    summary.unlink()
    assert call(capsys, "pack", copy, "--out", out)[0] == 3
    assert not out.exists()
    out.write_text("mine")
    assert call(capsys, "pack", runs / "random", "--out", out)[0] == 2 and out.read_text() == "mine"
    assert call(capsys, "pack", runs / "random", "--out", out, "--force")[0] == 0


def test_what_is_no_pack(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("notes")
    assert call(capsys, "verify", text)[0] == 2
    assert call(capsys, "verify", tmp_path / "nowhere.zip")[0] == 2
    text.rename(tmp_path / "notes.zip")
    assert call(capsys, "verify", tmp_path / "notes.zip")[0] == 4


def test_what_is_packed_is_said(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "small.zip"
    code, said, _ = call(capsys, "pack", runs / "random", "--out", out)
    assert code == 0 and "12 label maps not packed (--with-predictions packs them)" in said
    assert "\n1 run, 5 files, " in said
    with zipfile.ZipFile(out) as archive:
        assert not [name for name in archive.namelist() if name.endswith(".png")]
    code, said, _ = call(capsys, "verify", out)
    assert code == 0 and "pack of 1 run, 5 files" in said and "no label maps" in said
    code, said, _ = call(capsys, "pack", runs / "random", "--out", out, "--force", "--with-predictions")
    assert code == 0 and "; 12 label maps as counted" in said


@pytest.mark.parametrize("folders", [True, False])
def test_a_pack_zipped_again_by_hand_can_be_packed_again(
    pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], folders: bool
) -> None:
    folder, again = tmp_path / "folder", tmp_path / "again.zip"
    with zipfile.ZipFile(pack) as archive:
        archive.extractall(folder)
    with zipfile.ZipFile(again, "w") as archive:
        for path in sorted(folder.rglob("*"), reverse=True):
            if folders or path.is_file():
                archive.write(path, path.relative_to(folder))
    code, _, said = call(capsys, "verify", again)
    assert code == 4 and "`ovbench pack FOLDER --out FILE.zip` packs it again" in " ".join(said.split())
    mended = tmp_path / "mended.zip"
    assert call(capsys, "pack", folder, "--with-predictions", "--out", mended)[0] == 0
    assert mended.read_bytes() == pack.read_bytes()
