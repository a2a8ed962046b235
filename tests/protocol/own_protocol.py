"""A small protocol written to a folder, whole or with one thing changed."""

from __future__ import annotations

from pathlib import Path

TABLE = """raw_ids,name,clean,synonyms,kind,color
1,road,road,street,stuff,#804080
2;3,car,car,automobile;motor car,thing,#00008e
5,trash_can,trash can,,thing,
"""

TEXT = """id = "mine"
version = 1
title = "A title"
description = "A description."
class_table = "table.csv"
name_variant = "clean"
templates = "single"
vocabulary = "all"
scored = "all"
headline = "harmonic"
ignore_ids = [0, 255]
notes = ["a note"]

[dataset]
name = "folder"
split = "all"
train_split = "train"

[groups]
unseen = ["trash_can"]
wheels = ["car"]

[temporal]
windows = [8]

[board]
methods = ["random", "maskclip+vote"]
"""


def write(folder: Path, old: str = "", new: str = "", table: str = TABLE) -> Path:
    """`mine.toml` and `table.csv` in `folder`, with `old` replaced by `new` in the former."""
    assert old in TEXT, old
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "table.csv").write_text(table, encoding="utf-8")
    path = folder / "mine.toml"
    path.write_text(TEXT.replace(old, new, 1) if old else TEXT, encoding="utf-8")
    return path
