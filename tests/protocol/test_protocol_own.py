"""Protocols of a user's own: by path, and through the entry points of another package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from own_protocol import write

from ovbench.core.errors import UserError
from ovbench.protocol.load import load_protocol, protocol_ids


def install(site: Path, module: str, folder: str) -> None:
    """What pip leaves behind of a package `plug` whose entry point names `module`."""
    info = site / "plug-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plug\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[ovbench.protocols]\nmine = {module}\n")
    (site / folder).mkdir()
    (site / folder / "__init__.py").write_text("raise RuntimeError('must not be imported')\n")


def test_a_path_with_all_parts(tmp_path: Path) -> None:
    protocol = load_protocol(str(write(tmp_path)))
    assert protocol.id == "mine" and protocol.windows == (8,)
    assert protocol.temporal_modes == ("script", "clean", "correct")
    assert protocol.groups == {"all": (0, 1, 2), "seen": (0, 1), "unseen": (2,), "wheels": (1,)}
    assert protocol.board == ("random", "maskclip+vote")
    assert protocol.vocabulary.names == ("road", "car", "trash can")
    assert list(protocol.truth_table[:6]) == [255, 0, 1, 1, 254, 2]
    assert protocol.classes[2].color != (0, 0, 0), "a colour is chosen where none is given"
    assert np.array_equal(protocol.class_of_vocabulary, [0, 1, 2])


def test_name_variants(tmp_path: Path) -> None:
    raw = load_protocol(str(write(tmp_path, 'name_variant = "clean"', 'name_variant = "raw"'))).vocabulary
    assert raw.names == ("road", "car", "trash_can") and raw.synonyms[1] == ("car",)
    path = write(tmp_path, 'name_variant = "clean"', 'name_variant = "clean+synonyms"')
    rich = load_protocol(str(path)).vocabulary
    assert rich.synonyms == (("road", "street"), ("car", "automobile", "motor car"), ("trash can",))


def test_smallest_table_and_remarks(tmp_path: Path) -> None:
    table = '\ufeff# a remark\nname,raw_ids\nroad,1\n# another\n\n"car, parked",2\ntrash_can,5\n'
    protocol = load_protocol(str(write(tmp_path, 'wheels = ["car"]', 'wheels = ["car, parked"]', table)))
    assert [r.name for r in protocol.classes] == ["road", "car, parked", "trash_can"]
    assert protocol.classes[0].clean == "road" and protocol.classes[0].kind == ""


def test_groups_by_id_range_and_star(tmp_path: Path) -> None:
    path = write(tmp_path, 'wheels = ["car"]', 'wheels = ["2-5"]\neverything = ["*"]\nclean = ["trash can"]')
    groups = load_protocol(str(path)).groups
    assert (groups["wheels"], groups["everything"], groups["clean"]) == ((1, 2), (0, 1, 2), (2,))


def test_shipped_class_table_from_anywhere(tmp_path: Path) -> None:
    path = write(tmp_path, '"table.csv"', '"classes/vspw.csv"')
    assert len(load_protocol(str(path)).classes) == 124


def test_entry_points_are_found_without_importing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "plug", "plug")
    write(tmp_path / "plug")
    monkeypatch.syspath_prepend(tmp_path)
    assert "mine" in protocol_ids() and "vspw-124" in protocol_ids()
    assert load_protocol("mine").id == "mine"


def test_a_broken_plugin_is_named_and_ours_still_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "plug_that_is_gone", "plug")
    monkeypatch.syspath_prepend(tmp_path)
    assert load_protocol("vspw-124").id == "vspw-124"
    with pytest.raises(UserError, match=r"plug_that_is_gone.*'mine'"):
        protocol_ids()


def test_two_protocols_of_one_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "plug", "plug")
    path = write(tmp_path / "plug")
    path.rename(path.with_name("vspw-124.toml"))
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match="'vspw-124' exists twice"):
        protocol_ids()
