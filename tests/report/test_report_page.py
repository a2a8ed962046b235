"""The report as a file: what is on it, that names stay names, that it loads nothing and keeps to its budget."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
import shutil
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from report_runs import HOSTILE, METHODS, TITLE, VIDEOS, WITHOUT_MAPS, hostile_page
from run_cases import make_run

from ovbench.cli.main import main
from ovbench.core.errors import IncompleteError, IntegrityError, UserError
from ovbench.protocol.load import load_protocol
from ovbench.report.find import open_runs
from ovbench.report.footage import OTHER, VOID, open_footage
from ovbench.report.model import Run
from ovbench.report.page import Options, write_report
from ovbench.report.page.origins import origin_of
from ovbench.report.page.page import _class_csv, apart
from ovbench.report.page.render import json_block
from ovbench.report.page.sheets import OTHER_BYTE, VOID_BYTE, fitted, map_bytes, packed, unpacked
from ovbench.report.table import render

VOID_TAGS = {"meta", "link", "input", "img", "br", "hr"}


class Page(HTMLParser):
    """Elements with their attributes, and the text inside of each tag's elements."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID_TAGS:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        self.texts.append((self._open[-1] if self._open else "", data))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def inside(self, tag: str) -> list[str]:
        return [text for name, text in self.texts if name == tag]

    def data(self, name: str) -> Any:
        """What the JSON block of that class holds."""
        place = [a for t, a in self.elements if t == "script"].index(
            {"type": "application/json", "class": name}
        )
        return json.loads(self.inside("script")[place])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path], Path]:
    """Protocol, run folders and the report of runs with odd names."""
    return hostile_page(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def text(made: tuple[Path, list[Path], Path]) -> str:
    return made[2].read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def test_names_stay_names(text: str, page: Page) -> None:
    assert page.inside("title") == [TITLE] and page.inside("h1") == [TITLE]
    assert not page.all("img") and not page.all("i") or all("swatch" in str(a) for a in page.all("i"))
    assert not [a for _, a in page.elements if any(name.startswith("on") for name in a)]
    names = {a.get("data-name") for a in page.all("tr")}
    assert {*HOSTILE} <= names  # whole, as a reader's browser understands them
    for name in HOSTILE[:2]:
        assert name not in text
    classes = {c["name"] for c in page.data("footage")["classes"]}
    assert {*HOSTILE} <= classes


def test_only_our_script_runs(page: Page) -> None:
    kinds = Counter(a.get("type") for a in page.all("script"))
    assert kinds == {"application/json": 2, None: 1}
    policy = next(a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and "default-src 'none'" in policy and "http" not in policy
    script = page.inside("script")[-1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in policy


def test_nothing_points_outside(text: str, page: Page) -> None:
    for tag, attributes in page.elements:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:")), (tag, name, value)
    style = " ".join(page.inside("style"))
    assert "@import" not in style and "url(" not in style
    assert not re.search(
        r"\b(fetch|XMLHttpRequest|WebSocket|importScripts|sendBeacon)\s*\(", page.inside("script")[-1]
    )


def test_ids_are_unique_and_links_arrive(page: Page) -> None:
    ids = Counter(a["id"] for _, a in page.elements if a.get("id"))
    assert [name for name, often in ids.items() if often > 1] == []
    links = [a["href"] for a in page.all("a") if (a.get("href") or "").startswith("#")]
    assert {str(link)[1:] for link in links} <= set(ids)


def test_rows_and_columns_are_those_of_the_table(made: tuple[Path, list[Path], Path], page: Page) -> None:
    protocol, folders, _ = made
    table = json.loads(render(folders, str(protocol), "json", columns="all"))["tables"][0]
    rows = [a for a in page.all("tr") if "data-row" in a]
    assert [a["data-name"] for a in rows] == [row["name"] for row in table["rows"]]
    shown = {a["data-key"] for a in page.all("th") if "data-key" in a}
    assert shown == {c["key"] for c in table["columns"]}
    cells = iter([a for a in page.all("td") if "data-key" in a])
    keys = [a["data-key"] for a in page.all("th") if "data-key" in a]
    for row in table["rows"]:
        for key in keys:
            stated = next(cells)["data-value"]
            value = row["cells"].get(str(key), {}).get("value")
            assert stated == ("" if value is None else f"{value:.6g}"), (row["name"], key)


def test_label_maps_come_back_exactly(made: tuple[Path, list[Path], Path], page: Page) -> None:
    protocol_path, folders, _ = made
    protocol, data = load_protocol(str(protocol_path)), page.data("footage")
    assert [v["id"] for v in data["videos"]] == list(VIDEOS)
    assert sorted(data["methods"]) == sorted(METHODS)
    runs = {run.path.name: run for run in open_runs(folders)}
    footage = open_footage([runs[name] for name in data["methods"]], protocol, None, VIDEOS[1])
    video = data["videos"][1]
    shape = (len(video["frames"]), video["h"], video["w"])
    truth = unpacked(video["truth"], shape)
    for frame in (0, 7, shape[0] - 1):
        assert np.array_equal(truth[frame], _bytes(footage.truth(frame)))
        for number, maps in enumerate(video["maps"]):
            assert np.array_equal(unpacked(maps, shape)[frame], _bytes(footage.label_map(number, frame)))


def _bytes(classes: Any) -> Any:
    return np.where(classes == OTHER, OTHER_BYTE, np.where(classes == VOID, VOID_BYTE, classes))


def test_runs_without_label_maps_are_named(page: Page) -> None:
    notes = [note for note in page.inside("li") if "--save-predictions" in note]
    assert notes == [f"Not here, as they kept no label maps (--save-predictions): {WITHOUT_MAPS}."]


def test_downloads_are_the_tables(made: tuple[Path, list[Path], Path], page: Page) -> None:
    protocol, folders, _ = made
    files = {str(a["download"]): str(a["href"]) for a in page.all("a") if "download" in a}
    assert sorted(files) == [f"odd-names{e}" for e in ("-classes.csv", ".csv", ".json", ".md", ".tex")]
    found = {name: base64.b64decode(href.partition(",")[2]).decode() for name, href in files.items()}
    assert found["odd-names.csv"] == render(folders, str(protocol), "csv", columns="all") + "\n"
    assert found["odd-names.tex"] == render(folders, str(protocol), "latex") + "\n"
    classes = list(csv.DictReader(io.StringIO(found["odd-names-classes.csv"])))
    assert [row["class"] for row in classes[: len(HOSTILE)]] == list(HOSTILE)


def test_origins_name_key_and_command_but_no_path(made: tuple[Path, list[Path], Path], text: str) -> None:
    for run in open_runs(made[1]):
        assert str(run.manifest["run_key"]) in text
    assert str(made[2].parent) not in text


def test_the_check_command_can_be_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path / "runs" / "a b", 0.5)
    monkeypatch.chdir(tmp_path)
    for named in (Path("runs/a b"), run):
        assert origin_of(Run.open(named)).check == "ovbench explain 'runs/a b'"
    monkeypatch.chdir(tmp_path / "runs" / "a b")
    found = origin_of(Run.open(run), str(tmp_path / "p.toml")).check
    assert found == "ovbench explain 'a b' --protocol p.toml"  # from elsewhere: no path of this machine
    assert origin_of(Run.open("../a b"), "../p.toml").check == "ovbench explain '../a b' --protocol ../p.toml"


def test_untrained_runs_say_so_everywhere(tmp_path: Path) -> None:
    runs = [
        Run.open(make_run(tmp_path / "a", 0.5, method="deop", untrained=True)),
        Run.open(make_run(tmp_path / "b", 0.6, method="san")),
    ]
    text = write_report(runs, tmp_path / "r.html", Options(figures=False, video_count=0)).read_text()
    headings = re.findall(r'class="num method"><button[^>]*>(.*?)</button>', text)
    assert [re.sub("<[^>]*>", "", h) for h in headings] == ["san", "deop (untrained)"]


@pytest.mark.parametrize("budget", [0.6, 1.0])
def test_pictures_are_thinned_out_to_the_budget(
    made: tuple[Path, list[Path], Path], tmp_path: Path, budget: float
) -> None:
    protocol, folders, whole = made
    out = write_report(
        open_runs(folders),
        tmp_path / "small.html",
        Options(protocol=str(protocol), budget=budget, figures=False),
    )
    assert out.stat().st_size <= budget * 1e6 < whole.stat().st_size
    notes = " ".join(Page(out.read_text()).inside("li"))
    assert "thinned out" in notes or "evenly spaced" in notes or "--budget" in notes


def test_a_page_that_is_too_heavy_without_videos_is_refused(
    made: tuple[Path, list[Path], Path], tmp_path: Path
) -> None:
    protocol, folders, _ = made
    runs, out = open_runs(folders), tmp_path / "small.html"
    with pytest.raises(UserError, match="weighs 0.* MB without a single video") as error:
        write_report(runs, out, Options(protocol=str(protocol), budget=0.05, figures=False))
    enough = float(re.search(r"--budget ([\d.]+) or more", str(error.value.hint))[1])  # type: ignore[index]
    for none in (float("inf"), float("nan"), 0.0):
        with pytest.raises(UserError, match="is none"):
            write_report(runs, out, Options(protocol=str(protocol), budget=none, figures=False))
    assert not out.exists()
    write_report(runs, out, Options(protocol=str(protocol), budget=enough, figures=False))
    assert out.stat().st_size <= enough * 1e6


def test_label_maps_that_were_not_scored_are_not_shown(
    made: tuple[Path, list[Path], Path], tmp_path: Path
) -> None:
    protocol, folders, _ = made
    copy = tmp_path / "runs" / "majority"
    shutil.copytree(folders[METHODS.index("majority")], copy)
    options = Options(protocol=str(protocol), figures=False)
    (first, *_) = sorted((copy / "predictions" / VIDEOS[1]).iterdir())
    Image.fromarray(np.full((96, 160), 9, np.uint8)).save(first)
    with pytest.raises(IntegrityError, match="not those that were scored"):
        write_report(open_runs([copy]), tmp_path / "r.html", options)
    first.unlink()
    with pytest.raises(IncompleteError, match=f"label maps of video '{VIDEOS[1]}' are missing: {first.stem}"):
        write_report(open_runs([copy]), tmp_path / "r.html", options)
    assert not (tmp_path / "r.html").exists()


def test_videos_that_cannot_be_shown(made: tuple[Path, list[Path], Path], tmp_path: Path) -> None:
    protocol, folders, _ = made
    without = open_runs([folders[len(METHODS)]])
    for runs, video, says in (
        (without, VIDEOS[0], f"video '{VIDEOS[0]}' cannot be shown: No videos: none of these runs kept"),
        (without, "test-999", "unknown video 'test-999'"),
        (open_runs(folders), "test-999", "unknown video 'test-999'"),
    ):
        with pytest.raises(UserError, match=says):
            write_report(
                runs, tmp_path / "r.html", Options(protocol=str(protocol), videos=(video,), figures=False)
            )


def test_class_names_are_no_formulas() -> None:
    shown = SimpleNamespace(entries=[("=HYPERLINK(1)", ()), ("san", ())])
    cells = (SimpleNamespace(iou=None), SimpleNamespace(iou=0.5))
    rows = [
        SimpleNamespace(name=f"{sign}1+1", group="seen", kind="thing", truth=4, videos=2, cells=cells)
        for sign in ("=", "+", "-", "@", "\t")
    ]
    head, *body = csv.reader(io.StringIO(_class_csv(shown, rows)))  # type: ignore[arg-type]
    assert head[-2:] == ["'=HYPERLINK(1)", "san"]
    assert all(row[0].startswith("'") and row[-1] == "0.5" for row in body) and len(body) == 5


def test_no_videos_is_said(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "runs" / "a", 0.8, weights="w")
    make_run(tmp_path / "runs" / "b", 0.5, weights="v", seed=1)
    out = write_report(open_runs([folder.parent]), tmp_path / "r.html", Options(figures=False))
    page = Page(out.read_text())
    assert any("none of these runs kept its label maps" in note for note in page.inside("li"))
    assert not [a for a in page.all("script") if a.get("class") == "footage"]


def test_seeds_share_a_row(tmp_path: Path) -> None:
    for seed in range(3):
        make_run(tmp_path / "runs" / f"seed{seed}", 0.7, weights=f"w{seed}", seed=seed)
    out = write_report(
        open_runs([tmp_path / "runs"]), tmp_path / "r.html", Options(mean_seeds=True, figures=False)
    )
    page = Page(out.read_text())
    assert len([a for a in page.all("tr") if a.get("data-entry")]) == 1  # beside the row of reference
    assert len(page.data("behind")["behind"][0]) == 3
    assert "3 seeds" in page.inside("span") and any(text.startswith("± ") for text in page.inside("span"))


def test_a_strange_file_is_not_replaced(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "runs" / "a", 0.8)
    out = tmp_path / "thesis.html"
    out.write_text("<p>years of work</p>")
    with pytest.raises(UserError, match="no report of ours"):
        write_report(open_runs([folder]), out, Options(figures=False))
    assert out.read_text() == "<p>years of work</p>"
    write_report(open_runs([folder]), out, Options(figures=False), force=True)
    write_report(open_runs([folder]), out, Options(title="Again", figures=False))  # one of ours
    assert "<title>Again</title>" in out.read_text()


def test_the_command_prints_the_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_run(tmp_path / "runs" / "a", 0.8)
    with pytest.raises(SystemExit) as end:
        main(["report", str(folder), "--out", str(tmp_path / "r.html"), "--no-figures"])
    assert end.value.code == 0 and capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "r.html")
    with pytest.raises(SystemExit) as end:
        main(["report", str(folder), "--out", str(tmp_path)])
    assert end.value.code == 2 and "this is a folder" in capsys.readouterr().err


def test_json_in_a_script_element_cannot_end_it() -> None:
    block = str(json_block({"a": "</script><!--&\u2028"}))
    assert not set("<>&\u2028") & set(block)
    assert json.loads(block) == {"a": "</script><!--&\u2028"}


def test_figures_of_two_tables_share_no_id() -> None:
    svg = '<svg><g id="ab"/><g id="a"/><use href="#ab"/><path clip-path="url(#a)"/></svg>'
    moved = apart(svg, 2)
    assert (
        moved == '<svg><g id="t2-ab"/><g id="t2-a"/><use href="#t2-ab"/><path clip-path="url(#t2-a)"/></svg>'
    )
    assert apart(svg, 0) == svg


def test_maps_are_thinned_out_not_mixed() -> None:
    maps = [np.arange(48, dtype=np.int16).reshape(6, 8), None, np.full((6, 8), OTHER, np.int16)]
    size = fitted(6, 8, 4)
    assert (size.height, size.width) == (3, 4)
    found = map_bytes(maps, size)
    assert found[0].tolist() == [[9, 11, 13, 15], [25, 27, 29, 31], [41, 43, 45, 47]]
    assert (found[1] == VOID_BYTE).all() and (found[2] == OTHER_BYTE).all()
    assert np.array_equal(unpacked(packed(found), (3, 3, 4)), found)


def test_a_protocol_that_is_not_here_is_said_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign = replace(load_protocol("camvid-8-3-gzs"), id="mine", hash="f" * 64)
    run, out = make_run(tmp_path / "run", 0.5, protocol=foreign), tmp_path / "r.html"
    with pytest.raises(SystemExit) as done:
        main(["report", str(run), "--out", str(out)])
    said = capsys.readouterr()
    assert done.value.code == 0 and said.out.split() == [str(out)]
    assert "mine: no figures and no videos" in said.err and "--protocol FILE.toml" in said.err
    assert "<figure" not in out.read_text()
