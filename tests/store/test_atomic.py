from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ovbench.core.errors import UserError
from ovbench.store.atomic import is_temporary, write_bytes, write_json, write_text


def test_writes_make_folders_and_replace(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "x.bin"
    write_bytes(path, b"one")
    write_bytes(path, b"two")
    assert path.read_bytes() == b"two"
    assert [p.name for p in path.parent.iterdir()] == ["x.bin"]


def test_text_keeps_newlines_and_umask(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("x")
    write_text(tmp_path / "t.txt", "ä\r\nb\n")
    assert (tmp_path / "t.txt").read_bytes() == "ä\r\nb\n".encode()
    assert (tmp_path / "t.txt").stat().st_mode == plain.stat().st_mode


def test_equal_json_gives_equal_bytes(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": [1, 2.5], "a": None})
    write_json(tmp_path / "b.json", {"a": None, "b": [1, 2.5]})
    text = (tmp_path / "a.json").read_bytes()
    assert text == (tmp_path / "b.json").read_bytes()
    assert text.startswith(b'{\n "a": null') and text.endswith(b"}\n")
    assert json.loads(text) == {"a": None, "b": [1, 2.5]}


def test_nan_is_refused_and_leaves_the_old_file(tmp_path: Path) -> None:
    write_json(tmp_path / "s.json", 1)
    with pytest.raises(ValueError):
        write_json(tmp_path / "s.json", {"x": float("nan")})
    assert (tmp_path / "s.json").read_text() == "1\n"


def test_a_failed_write_keeps_the_old_file_and_no_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "record.json"
    write_text(path, "old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError) as caught:
        write_text(path, "new")
    assert "No space left" in str(caught.value) and str(path) in str(caught.value)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        write_text(tmp_path / "file" / "x", "y")


def test_kill_9_leaves_the_old_or_the_new_file(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    size = 1 << 20
    code = (
        "import sys; from ovbench.store.atomic import write_bytes\n"
        f"print('go', flush=True)\nfor i in range(10**9): write_bytes(sys.argv[1], bytes([i % 256]) * {size})"
    )
    root = Path(__file__).resolve().parents[2]
    child = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, cwd=root)
    assert child.stdout is not None and child.stdout.readline() == b"go\n"
    while not path.exists():
        assert child.poll() is None
        time.sleep(0.001)
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    data = path.read_bytes()
    assert len(data) == size and len(set(data)) == 1
    assert all(is_temporary(p) for p in tmp_path.iterdir() if p != path)
