"""Every mistake in a protocol gives one message with file, key and what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest
from own_protocol import TABLE, write

from ovbench.core.errors import UserError
from ovbench.protocol.load import load_protocol
from ovbench.protocol.templates import read_templates


def message(path: Path | str) -> str:
    with pytest.raises(UserError) as caught:
        load_protocol(str(path))
    assert caught.value.exit_code == 2
    return str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('title = "A title"', 'titel = "A title"', ["mine.toml, key 'titel'", "did you mean title"]),
        ('split = "all"', 'splitt = "all"', ["key 'dataset.splitt'", "did you mean split"]),
        ("windows = [8]", "window = [8]", ["key 'temporal.window'", "windows"]),
        ('title = "A title"', "", ["mine.toml, key 'title'", "is missing", "a string"]),
        ('name = "folder"', "", ["key 'dataset.name'", "is missing"]),
        ('title = "A title"', "title = 3", ["key 'title'", "3 where a string is expected"]),
        ('title = "A title"', 'title = " "', ["key 'title'", "empty"]),
        ("version = 1", 'version = "1"', ["key 'version'", "whole number from 1"]),
        ("version = 1", "version = true", ["key 'version'", "whole number from 1"]),
        ("version = 1", "version = 0", ["key 'version'", "whole number from 1"]),
        ('id = "mine"', 'id = "other"', ["key 'id'", "'other' differs", "'mine'"]),
        ('id = "mine"', 'id = "../mine"', ["'../mine' cannot be used as a file name"]),
        ('name = "folder"', 'name = "vpsw"', ["key 'dataset.name'", "did you mean vspw", "camvid"]),
        ('name_variant = "clean"', 'name_variant = "cleen"', ["key 'name_variant'", "clean+synonyms"]),
        ('vocabulary = "all"', 'vocabulary = "seen"', ["key 'vocabulary'", "all, unseen"]),
        ('scored = "all"', 'scored = "some"', ["key 'scored'", "all, unseen"]),
        ('vocabulary = "all"', 'vocabulary = "unseen"', ["key 'scored'", "allowed: 'unseen'"]),
        ('headline = "harmonic"', 'headline = "harmonics"', ["key 'headline'", "harmonic", "wheels"]),
        ('headline = "harmonic"', 'convention = "coco"', ["key 'convention'", "gt-present"]),
        ('headline = "harmonic"', 'resize = "480p"', ["key 'resize'", "native"]),
        ('templates = "single"', 'templates = "imagnet80"', ["key 'templates'", "imagenet80"]),
        ('templates = "single"', 'templates = "none.txt"', ["none.txt", "does not exist"]),
        ('"table.csv"', '"tabel.csv"', ["key 'class_table'", "tabel.csv", "classes/vspw.csv"]),
        ("ignore_ids = [0, 255]", "ignore_ids = [0, 70000]", ["key 'ignore_ids'", "0 to 65535"]),
        ("ignore_ids = [0, 255]", "ignore_ids = 255", ["key 'ignore_ids'", "a list"]),
        ("ignore_ids = [0, 255]", "ignore_ids = [0, 0]", ["key 'ignore_ids'", "twice"]),
        ("ignore_ids = [0, 255]", "ignore_ids = [0, 3]", ["key 'ignore_ids'", "id 3", "'car'"]),
        ('["trash_can"]', '["trash_cna"]', ["key 'groups.unseen'", "did you mean trash_can"]),
        ('["trash_can"]', '["7-9"]', ["key 'groups.unseen'", "'7-9'"]),
        ('["trash_can"]', '"trash_can"', ["key 'groups.unseen'", "a list of strings"]),
        ('wheels = ["car"]', 'seen = ["car"]', ["key 'groups.seen'", "cannot be set"]),
        ('wheels = ["car"]', 'Wheels = ["car"]', ["key 'groups.Wheels'", "small letters"]),
        ('wheels = ["car"]', "wheels = []", ["key 'groups.wheels'", "empty"]),
        ("windows = [8]", "windows = [1]", ["key 'temporal.windows'", "2 to 1000"]),
        ("windows = [8]", 'modes = ["strict"]', ["key 'temporal.modes'", "correct, script"]),
        ('split = "all"', 'split = "all"\noptions = {day = 2020-01-01}', ["key 'dataset.options.day'"]),
        ('split = "all"', 'split = "all"\nvideos = "list.txt"', ["key 'dataset.videos'", "list.txt"]),
        ('["random", "maskclip+vote"]', '["random", "random"]', ["key 'board.methods'", "twice"]),
        ("[dataset]", "[dataset", ["mine.toml", "not valid TOML", "line"]),
    ],
)
def test_mistakes_in_the_file(tmp_path: Path, old: str, new: str, expected: list[str]) -> None:
    text = message(write(tmp_path, old, new))
    for part in expected:
        assert part in text


def test_dataset_must_be_a_table(tmp_path: Path) -> None:
    path = write(tmp_path)
    head, rest = path.read_text().split("[dataset]")
    path.write_text(head + 'dataset = "vspw"\n[groups]' + rest.split("[groups]")[1])
    text = message(path)
    assert "key 'dataset'" in text and "where a table is expected" in text


def test_unseen_vocabulary_without_unseen_classes(tmp_path: Path) -> None:
    path = write(tmp_path, 'vocabulary = "all"\nscored = "all"', 'vocabulary = "unseen"\nscored = "unseen"')
    path.write_text(path.read_text().replace('unseen = ["trash_can"]', ""))
    assert "unseen names no class" in message(path)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("2;3,", "2;1,", ["raw id '1' appears twice"]),
        ("trash_can,trash can", "car,trash can", ["name 'car' appears twice"]),
        ("trash_can,trash can", "trash_can,car", ["clean name 'car' appears twice"]),
        (",street,", ",automobile,", ["'automobile' appears twice"]),
        ("2;3,", "2;x,", ["line 3", "raw id 'x'"]),
        ("2;3,", "-2,", ["line 3", "raw id '-2'"]),
        ("2;3,", ",", ["line 3", "raw id ''"]),
        ("2;3,", "65536,", ["0 to 65535"]),
        ("car,car", ",car", ["line 3", "name is empty"]),
        (",thing,\n", ",object,\n", ["line 4", "kind 'object'", "thing, stuff"]),
        ("#804080", "purple", ["line 2", "#rrggbb"]),
        (",color", ",colour", ["line 1", "did you mean color"]),
        ("raw_ids,name", "name,raw_ids,name", ["a column appears twice"]),
        ("raw_ids,", "", ["line 1", "'raw_ids' is missing"]),
        (",street,stuff,", ",street,stuff,,", ["line 2", "7 cells", "6 columns"]),
        (TABLE, "raw_ids,name\n", ["no classes"]),
        (TABLE, "raw_ids,name\n" + "".join(f"{i},c{i}\n" for i in range(1, 257)), ["256 classes", "254"]),
    ],
)
def test_mistakes_in_the_class_table(tmp_path: Path, old: str, new: str, expected: list[str]) -> None:
    assert old in TABLE
    text = message(write(tmp_path, table=TABLE.replace(old, new, 1)))
    assert "table.csv" in text
    for part in expected:
        assert part in text


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a photo\n", ["line 1", "'{}' exactly once"]),
        ("ok {}\n{} and {}\n", ["line 2", "exactly once"]),
        ("a {}\n\na {}\n", ["line 3", "already stands in line 1"]),
        ("\n\n", ["no template"]),
    ],
)
def test_bad_templates(tmp_path: Path, content: str, expected: list[str]) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text(content)
    with pytest.raises(UserError) as caught:
        read_templates(path)
    for part in [str(path), *expected]:
        assert part in str(caught.value)


def test_lists_of_videos(tmp_path: Path) -> None:
    path = write(tmp_path, 'split = "all"', 'split = "all"\nvideos = "list.txt"')
    (tmp_path / "list.txt").write_text("\n")
    assert "is empty" in message(path)
    (tmp_path / "list.txt").write_text("a\nb\na")
    assert "'a' appears twice" in message(path)


def test_files_that_are_no_text(tmp_path: Path) -> None:
    path = write(tmp_path)
    (tmp_path / "table.csv").write_bytes(b"raw_ids,name\n1,\xff\n")
    assert "not UTF-8" in message(path)
    assert "does not exist" in message(tmp_path / "nothing.toml")
    (tmp_path / "folder.toml").mkdir()
    assert "is a folder" in message(tmp_path / "folder.toml")


@pytest.mark.parametrize("name", ["vspw-80-4", "", "../protocols/vspw-124", "classes/vspw"])
def test_unknown_ids(name: str) -> None:
    text = message(name)
    assert f"unknown protocol '{name}'" in text and "world-27-9" in text


def test_near_name_of_an_id() -> None:
    assert "did you mean vspw-80-44" in message("vspw-8044")
