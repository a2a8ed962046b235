"""Runs of a small world whose protocol has names that would break a careless page."""

from __future__ import annotations

from pathlib import Path

from ovbench.core.paths import room
from ovbench.engine.evaluate import run
from ovbench.engine.plan import Request
from ovbench.report.find import open_runs
from ovbench.report.page import Options, write_report

HOSTILE = (
    "<script>window.hit='script'</script>",
    "</script><img src=x onerror=window.hit='image'>",
    "a & b \"quoted\" 'single' {{ 7 * 7 }}",
)
"""Clean names of the first classes."""
TITLE = "Looks <i>odd</i> & <script>window.hit='title'</script>"
VIDEOS = ("test-000", "test-003", "test-007")
METHODS = ("oracle-grid", "majority", "random")
WITHOUT_MAPS = "constant"


def hostile_protocol(folder: Path) -> Path:
    """The world's default protocol over three videos, with `HOSTILE` names and `TITLE`."""
    folder.mkdir(parents=True, exist_ok=True)
    source = room("protocols")
    rows = (source / "classes" / "world-attribute.csv").read_text().splitlines()
    start = next(i for i, line in enumerate(rows) if line.startswith("raw_ids")) + 1
    for place, name in enumerate(HOSTILE):
        cells = rows[start + place].split(",")
        quoted = name.replace('"', '""')
        rows[start + place] = ",".join([*cells[:2], f'"{quoted}"', *cells[3:]])
    (folder / "odd.csv").write_text("\n".join(rows) + "\n")
    (folder / "videos.txt").write_text("\n".join(VIDEOS) + "\n")
    text = (source / "world-27-9.toml").read_text()
    text = text.replace('id = "world-27-9"', 'id = "odd-names"').replace(
        "classes/world-attribute.csv", "odd.csv"
    )
    line = next(part for part in text.splitlines() if part.startswith("title = "))
    text = text.replace(line, f"title = '''{TITLE}'''")
    text = text.replace('split = "test"', 'split = "test"\nvideos = "videos.txt"', 1)
    path = folder / "odd-names.toml"
    path.write_text(text)
    return path


def hostile_runs(folder: Path) -> tuple[Path, list[Path]]:
    """The protocol's path, and run folders of `METHODS` (with label maps) and `WITHOUT_MAPS` (without)."""
    protocol = hostile_protocol(folder / "protocol")
    folders = []
    for method in (*METHODS, WITHOUT_MAPS):
        out = folder / "runs" / method
        run(
            Request(
                method=method,
                protocol=str(protocol),
                out=out,
                jobs=1,
                save_predictions=method != WITHOUT_MAPS,
            )
        )
        folders.append(out)
    return protocol, folders


def hostile_page(base: Path) -> tuple[Path, list[Path], Path]:
    """Protocol and folders of `hostile_runs` and their report, made once below `base`; nobody may change them."""
    folder = base / "hostile"
    out = folder / "report.html"
    if not out.is_file():
        protocol, folders = hostile_runs(folder)
        write_report(open_runs(folders), out, Options(protocol=str(protocol)))
    runs = [folder / "runs" / method for method in (*METHODS, WITHOUT_MAPS)]
    return folder / "protocol" / "odd-names.toml", runs, out
