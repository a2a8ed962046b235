"""What `ovbench protocols` prints."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from own_protocol import write

from ovbench.cli.protocols import command
from ovbench.core.errors import UserError
from ovbench.protocol.load import load_protocol, protocol_ids


def run(*args: str) -> str:
    result = CliRunner().invoke(command, args, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_list() -> None:
    lines = run().splitlines()
    assert lines[0].split()[:2] == ["id", "v"]
    assert [line.split()[0] for line in lines[1 : 1 + len(protocol_ids())]] == protocol_ids()
    vspw = next(line for line in lines if line.startswith("vspw-80-44 "))
    assert "80/44" in vspw and "unseen (44)" in vspw and load_protocol("vspw-80-44").hash[:12] in vspw


def test_list_as_json() -> None:
    rows = {row["id"]: row for row in json.loads(run("--format", "json"))}
    assert list(rows) == protocol_ids()
    assert rows["vspw-80-44-gzs"]["seen"] == 80 and rows["vspw-80-44-gzs"]["scored_size"] == 124
    assert len(rows["world-27-9"]["hash"]) == 64


def test_show_in_words() -> None:
    text = " ".join(run("show", "vspw-80-44").split())
    protocol = load_protocol("vspw-80-44")
    assert protocol.hash in text
    for part in (
        "the method is told the 44 unseen names only",
        "false alarms on them cost nothing",
        "(44) trash_can, cage",
        "VC8 and VC16",
        "80 templates of the set 'imagenet80'",
        "'train' (raw id 124) included",
    ):
        assert part in text


def test_show_says_when_there_is_nothing_to_train_on_and_no_consistency() -> None:
    text = " ".join(run("show", "cityscapes-19").split())
    assert "No training split" in text and "no consistency scores" in text and "novel3: (3)" in text


def test_show_as_json_and_by_path(tmp_path: Path) -> None:
    shown = json.loads(run("show", str(write(tmp_path)), "--format", "json"))
    assert shown["id"] == "mine" and shown["groups"]["unseen"] == ["trash_can"]
    assert shown["classes"][1] == {
        "index": 1,
        "raw_ids": [2, 3],
        "name": "car",
        "clean": "car",
        "synonyms": ["automobile", "motor car"],
        "seen": True,
        "kind": "thing",
        "color": "#00008e",
    }


def test_unknown_id() -> None:
    with pytest.raises(UserError, match="unknown protocol 'vspw'"):
        CliRunner().invoke(command, ["show", "vspw"], catch_exceptions=False)


def test_exit_code_and_no_torch() -> None:
    bad = subprocess.run(
        [sys.executable, "-m", "ovbench", "protocols", "show", "no"], capture_output=True, text=True
    )
    assert bad.returncode == 2 and "unknown protocol 'no'" in bad.stderr and not bad.stdout
    code = (
        "import sys; from ovbench.cli.main import _run; assert _run(['protocols']) == 0;"
        "assert not {'torch', 'pandas', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
