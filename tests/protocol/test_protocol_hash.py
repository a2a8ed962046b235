"""The hash follows whatever can change a number, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from own_protocol import TABLE, write

from ovbench.protocol.load import load_protocol


def test_stable_between_loads_and_processes() -> None:
    here = load_protocol("vspw-80-44").hash
    code = "from ovbench.protocol.load import load_protocol; print(load_protocol('vspw-80-44').hash)"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert load_protocol("vspw-80-44").hash == here == other.stdout.strip()


def test_all_shipped_hashes_differ() -> None:
    from ovbench.protocol.load import protocol_ids

    hashes = [load_protocol(name).hash for name in protocol_ids()]
    assert len(set(hashes)) == len(hashes)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('title = "A title"', 'title = "Another"'),
        ('description = "A description."', 'description = "Other words."'),
        ('notes = ["a note"]', "notes = []"),
        ('headline = "harmonic"', 'headline = "unseen"'),
        ('methods = ["random", "maskclip+vote"]', "methods = []"),
        ("ignore_ids = [0, 255]", "ignore_ids = [255, 0]"),
        ('unseen = ["trash_can"]', 'unseen = ["5"]'),
    ],
)
def test_words_leave_the_hash_alone(tmp_path: Path, old: str, new: str) -> None:
    before = load_protocol(str(write(tmp_path / "a"))).hash
    assert load_protocol(str(write(tmp_path / "b", old, new))).hash == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("version = 1", "version = 2"),
        ('templates = "single"', 'templates = "vild"'),
        ('name_variant = "clean"', 'name_variant = "raw"'),
        ('name_variant = "clean"', 'name_variant = "clean+synonyms"'),
        ('scored = "all"', 'scored = "unseen"'),
        ('vocabulary = "all"\nscored = "all"', 'vocabulary = "unseen"\nscored = "unseen"'),
        ("ignore_ids = [0, 255]", "ignore_ids = [255]"),
        ('headline = "harmonic"', 'convention = "union-present"'),
        ('split = "all"', 'split = "val"'),
        ('train_split = "train"', 'train_split = "all"'),
        ('name = "folder"', 'name = "vspw"'),
        ('train_split = "train"', "options = {flip = true}"),
        ('unseen = ["trash_can"]', 'unseen = ["car"]'),
        ('wheels = ["car"]', 'wheels = ["road"]'),
        ("windows = [8]", "windows = [8, 16]"),
        ("windows = [8]", 'windows = [8]\nmodes = ["correct"]'),
    ],
)
def test_whatever_changes_a_number_changes_the_hash(tmp_path: Path, old: str, new: str) -> None:
    before = load_protocol(str(write(tmp_path / "a"))).hash
    assert load_protocol(str(write(tmp_path / "b", old, new))).hash != before


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("#804080", "#804081", True),
        ("automobile", "auto", True),  # synonyms are not used by the variant "clean"
        ("car,car", "cars,car", False),
        ("car,car", "car,a car", False),
        ("2;3,", "2;4,", False),
        ("3;2,", "3;2,", True),
        (",thing,#00008e", ",stuff,#00008e", False),
    ],
)
def test_class_table(tmp_path: Path, old: str, new: str, same: bool) -> None:
    before = load_protocol(str(write(tmp_path / "a"))).hash
    # The names in [groups] must follow; a raw id does under any spelling.
    table = TABLE.replace(old, new, 1)
    after = load_protocol(str(write(tmp_path / "b", 'wheels = ["car"]', 'wheels = ["2"]', table))).hash
    assert (after == before) is same


def test_list_of_videos_and_template_file(tmp_path: Path) -> None:
    path = write(tmp_path, 'split = "all"', 'split = "all"\nvideos = "some.txt"')
    (tmp_path / "some.txt").write_text("b\na")
    protocol = load_protocol(str(path))
    assert protocol.dataset.videos == ("b", "a")
    (tmp_path / "some.txt").write_text("a\nb\n")
    assert load_protocol(str(path)).hash != protocol.hash
    path = write(tmp_path, 'templates = "single"', 'templates = "prompts.txt"')
    (tmp_path / "prompts.txt").write_text("a photo of a {}.\n\n")
    protocol = load_protocol(str(path))
    assert protocol.templates == ("a photo of a {}.",)
    assert protocol.hash == load_protocol(str(write(tmp_path))).hash, "the same prompts under another name"
