"""Packs: the same bytes from the same runs, and every kind of tampering refused with its reason."""

from __future__ import annotations

import json
import shutil
import stat
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ovbench.core.errors import IntegrityError, UserError
from ovbench.store.pack import check_folder, is_pack, name_in_pack, unpacked, write_pack
from ovbench.store.packread import check_name
from ovbench.store.rundir import RunDir

Members = list[tuple[zipfile.ZipInfo | str, bytes]]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OVBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def run_folder(path: Path, videos: tuple[str, ...] = ("a", "b")) -> Path:
    run = RunDir(path)
    run.write_manifest({"videos": list(videos), "run_key": "k" * 64, "method": {"id": "m", "variant": "v"}})
    run.write_summary({"value": 1})
    for video in videos:
        (path / "records").mkdir(exist_ok=True)
        (path / f"records/{video}.json").write_text(json.dumps({"video": video, "counts": list(range(99))}))
        (path / f"predictions/{video}").mkdir(parents=True)
        (path / f"predictions/{video}/00000.png").write_bytes(b"\x89PNG" + video.encode())
    return path


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    out = tmp_path / "pack.zip"
    write_pack(out, {"one": run_folder(tmp_path / "one")}, {"one": {"method": "m"}}, True)
    return out


def rewrite(pack: Path, change: Callable[[Members], Members]) -> Path:
    """The pack with its members changed, every zip checksum right."""
    with zipfile.ZipFile(pack) as archive:
        members: Members = [(info, archive.read(info)) for info in archive.infolist()]
    out = pack.with_name("changed.zip")
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w") as archive:
        warnings.simplefilter("ignore")  # duplicates
        for info, data in change(members):
            archive.writestr(info, data)
    return out


def edit(name: str, change: Callable[[bytes], bytes]) -> Callable[[Members], Members]:
    def apply(members: Members) -> Members:
        assert any(getattr(m, "filename", m) == name for m, _ in members)
        return [(m, change(d) if getattr(m, "filename", m) == name else d) for m, d in members]

    return apply


def renamed(old: str, new: str) -> Callable[[Members], Members]:
    """A member under another name, in the list of files too."""

    def apply(members: Members) -> Members:
        out: Members = []
        for info, data in members:
            assert isinstance(info, zipfile.ZipInfo)
            if info.filename == "pack.json":
                data = data.replace(json.dumps(old).encode(), json.dumps(new).encode())
            if info.filename == old:
                info.filename = new
            out.append((info, data))
        return out

    return apply


def in_list(change: Callable[[dict[str, Any]], object]) -> Callable[[Members], Members]:
    def apply(data: bytes) -> bytes:
        about = json.loads(data)
        change(about)
        return json.dumps(about).encode()

    return edit("pack.json", apply)


def link(members: Members) -> Members:
    info = zipfile.ZipInfo("one/records/c.json")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return [*members, (info, b"/etc/passwd")]


def bomb(members: Members) -> Members:
    info = zipfile.ZipInfo("one/records/c.json")
    info.compress_type = zipfile.ZIP_DEFLATED
    return [*members, (info, bytes(200 << 20))]


RECORD = "one/records/a.json"
TAMPERED: dict[str, tuple[Callable[[Members], Members], str]] = {
    "one count": (edit(RECORD, lambda d: d.replace(b" 7,", b" 8,")), "not the file that was packed"),
    "one hash": (
        in_list(lambda a: a["files"][RECORD].update(sha256="0" * 64)),
        "not the file that was packed",
    ),
    "one size": (in_list(lambda a: a["files"][RECORD].update(bytes=3)), "3 bytes"),
    "a path with ..": (renamed(RECORD, "one/../../a.json"), "leaves the folder"),
    "a path with .. inside": (renamed(RECORD, "one/records/../records/a.json"), "leaves the folder"),
    "an absolute path": (renamed(RECORD, "/one/records/a.json"), "absolute"),
    "a drive": (renamed(RECORD, "C:/records/a.json"), "absolute"),
    "a backslash": (renamed(RECORD, "one\\records\\a.json"), "absolute|not one that a pack holds"),
    "a hidden file": (renamed(RECORD, "one/records/.a.json"), "not one that a pack holds"),
    "a foreign file": (renamed(RECORD, "one/setup.py"), "does not belong to a run"),
    "a folder": (lambda m: [*m, ("one/empty/", b"")], "not one that a pack holds"),
    "an extra file": (lambda m: [*m, ("one/records/c.json", b"{}")], "not listed"),
    "a missing file": (lambda m: [p for p in m if getattr(p[0], "filename", "") != RECORD], "is missing"),
    "one twice": (lambda m: [*m, (RECORD, b"{}")], "there twice"),
    "one twice in capitals": (lambda m: [*m, ("one/records/A.json", b"{}")], "there twice"),
    "a link": (link, "is a link"),
    "a bomb": (bomb, "grows like that"),
    "no list": (lambda m: m[1:], "first file is not pack.json"),
    "a list that is no JSON": (edit("pack.json", lambda d: d[:-9]), "no JSON"),
    "another format": (in_list(lambda a: a.update(format=2)), "format 1"),
    "no runs": (in_list(lambda a: a.update(runs={})), "does not list"),
    "another run": (in_list(lambda a: a["runs"].update(two={})), "other runs"),
    "an entry without a hash": (
        in_list(lambda a: a["files"].update({RECORD: {"bytes": 1}})),
        "does not give",
    ),
    "an entry of text": (in_list(lambda a: a["files"].update({RECORD: "x"})), "does not give"),
}


@pytest.mark.parametrize("kind", TAMPERED)
def test_a_tampered_pack_is_refused_and_leaves_nothing(pack: Path, own_cache: Path, kind: str) -> None:
    change, reason = TAMPERED[kind]
    changed = rewrite(pack, change)
    with pytest.raises(IntegrityError, match=reason) as caught:
        unpacked(changed)
    assert caught.value.exit_code == 4 and caught.value.hint
    assert not [p for p in own_cache.rglob("*") if p.is_file()]
    assert not [p for p in pack.parent.rglob("a.json") if "one/records" not in p.as_posix()]


@pytest.mark.parametrize("where", [0.05, 0.5, 0.95])
def test_a_cut_or_broken_archive(pack: Path, where: float) -> None:
    data = pack.read_bytes()
    cut = pack.with_name("cut.zip")
    cut.write_bytes(data[: int(len(data) * where)])
    with pytest.raises(IntegrityError):
        unpacked(cut)


def test_one_flipped_bit_anywhere_is_found_or_changes_nothing(pack: Path) -> None:
    whole = pack.read_bytes()
    good = {p.name: p.read_bytes() for p in unpacked(pack).rglob("*") if p.is_file()}
    broken = pack.with_name("broken.zip")
    for place in range(0, len(whole), 13):
        data = bytearray(whole)
        data[place] ^= 4
        broken.write_bytes(data)
        try:
            folder = unpacked(broken)
        except IntegrityError:
            continue
        assert {p.name: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == good


def test_equal_runs_equal_bytes(tmp_path: Path, pack: Path) -> None:
    copy = tmp_path / "elsewhere/one"
    shutil.copytree(tmp_path / "one", copy)
    again = tmp_path / "again.zip"
    found = write_pack(again, {"one": copy}, {"one": {"method": "m"}}, True)
    assert again.read_bytes() == pack.read_bytes()
    assert found.content == check_folder(unpacked(pack)).content
    without = write_pack(tmp_path / "w.zip", {"one": copy}, {"one": {}}, False)
    assert not [name for name in without.files if "predictions" in name]


def test_what_comes_out_is_what_went_in(tmp_path: Path, pack: Path) -> None:
    folder = unpacked(pack)
    assert unpacked(pack) == folder  # taken from the cache
    for path in (tmp_path / "one").rglob("*.*"):
        assert (folder / "one" / path.relative_to(tmp_path / "one")).read_bytes() == path.read_bytes()
    record = folder / RECORD
    record.write_bytes(b"{}")
    assert unpacked(pack, again=True) == folder and record.read_bytes() != b"{}"


def test_an_unpacked_pack_is_checked_too(pack: Path) -> None:
    folder = unpacked(pack)
    (folder / "one/records/c.json").write_text("{}")
    with pytest.raises(IntegrityError, match="not in the list"):
        check_folder(folder)
    (folder / "one/records/c.json").unlink()
    (folder / RECORD).write_text("{}")
    with pytest.raises(IntegrityError, match="not the file that was packed"):
        check_folder(folder)
    (folder / RECORD).unlink()
    with pytest.raises(IntegrityError, match="is missing"):
        check_folder(folder)
    (folder / RECORD).symlink_to("/etc/hostname")
    with pytest.raises(IntegrityError, match="no plain file"):
        check_folder(folder)


def test_names(tmp_path: Path) -> None:
    assert name_in_pack(RunDir(run_folder(tmp_path / "zegformer-seed0"))) == "zegformer-seed0"
    assert name_in_pack(RunDir(run_folder(tmp_path / ("k" * 10)))) == "m-v-" + "k" * 10
    check_name("x", "one/predictions/v/frame 1.png")
    for bad in ("", "one", "one//manifest.json", "./one/manifest.json", "one/manifest.json\n", "~\x00/a"):
        with pytest.raises(IntegrityError):
            check_name("x", bad)


def test_only_zip_files_are_packs(tmp_path: Path) -> None:
    (tmp_path / "folder.zip").mkdir()
    (tmp_path / "maps.npz").write_bytes(b"PK")
    assert not is_pack(tmp_path / "folder.zip") and not is_pack(tmp_path / "maps.npz")


def test_a_cache_that_cannot_be_written(pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVBENCH_CACHE", str(pack))  # a file
    with pytest.raises(UserError, match="cannot be unpacked"):
        unpacked(pack)
