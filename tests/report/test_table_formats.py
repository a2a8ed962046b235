"""Tables for papers and pages: best and second, groups, LaTeX that compiles, HTML that is harmless."""

from __future__ import annotations

import csv
import html.parser
import io
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from run_cases import make_run

from ovbench.core.errors import UserError
from ovbench.report.emphasis import best_and_second, emphasis, marked
from ovbench.report.find import open_runs
from ovbench.report.formats import write
from ovbench.report.grids import BEST, SECOND, csv_text, html_table, safe_cell
from ovbench.report.grouping import heading
from ovbench.report.latex import booktabs
from ovbench.report.model import Cell, Column, Row, Run, Table
from ovbench.report.reproduce import build as rebuilt
from ovbench.report.reproduce import setting
from ovbench.report.reproduce_formats import write as write_reproduction
from ovbench.report.table import Options, build, render
from ovbench.report.tex import replaced, tex

COLUMNS = (
    Column("unseen.miou", "unseen mIoU", interval=True),
    Column("seen_bias", "seen bias"),
    Column("vc8.script", "VC8 script"),
)


def row(name: str, value: float, bias: float, rank: int | None = 1, group: str = "") -> Row:
    cells = {
        "unseen.miou": Cell(value, value - 1, value + 1),
        "seen_bias": Cell(bias),
        "vc8.script": Cell(99.0 - bias),
    }
    return Row(name, cells, rank=rank, marks=() if rank else ("control",), group=group)


def table(*rows: Row) -> Table:
    about = {"id": "p", "version": 1, "hash": "0" * 64}
    return Table(
        "p", about, "unseen.miou", COLUMNS, rows, ("a note",), grouped="kind" if rows[0].group else ""
    )


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("board")
    return [
        make_run(root / "a", 0.7, method="zegformer", variant="coco-r101"),
        make_run(root / "b", 0.6, method="zegformer", variant="coco-r50", seed=1),
        make_run(root / "c", 0.5, method="ov2vss", variant="sam-vit-b", kind="video", seed=2),
        make_run(root / "d", 0.4, method="zegformer+vote", variant="coco-r50", seed=3),
        make_run(root / "e", 0.9, method="oracle-grid", kind="control"),
        make_run(root / "f", 0.3, method="theirs", variant="x"),
    ]


def test_ties_are_marked_alike() -> None:
    assert best_and_second({0: 3.0, 1: 4.0, 2: 4.0, 3: 3.0, 4: 1.0}) == {
        1: BEST,
        2: BEST,
        0: SECOND,
        3: SECOND,
    }
    assert best_and_second({0: 3.0, 1: 4.0}, lower=True) == {0: BEST, 1: SECOND}
    assert best_and_second({0: 3.0}) == {}


def test_marks_follow_printed_values_and_leave_controls_out() -> None:
    made = table(row("oracle", 90, 0, rank=None), row("a", 50.04, 9), row("b", 49.96, 5), row("c", 40, 7))
    assert emphasis(made) == [["", "", ""], [BEST, "", ""], [BEST, BEST, ""], [SECOND, SECOND, ""]]
    assert not marked(COLUMNS[2]), "a constant prediction wins this score"
    text = write([made], "latex")
    assert text.count("\\textbf{50.0}") == 2 and "\\underline{40.0}" in text and "\\textbf{5.0}" in text
    page = write([made], "html")
    assert page.count("<strong>50.0</strong>") == 2 and "<u>40.0</u>" in page


def test_each_group_has_its_best() -> None:
    made = table(
        row("a", 50, 9, group="x"),
        row("b", 40, 5, group="x"),
        row("c", 30, 7, group="y"),
        row("d", 20, 6, group="y"),
    )
    assert [m[0] for m in emphasis(made)] == [BEST, SECOND, BEST, SECOND]
    for format in ("text", "md", "latex", "html"):
        text = write([made], format)
        assert text.index("x") < text.index(" a ") if format == "text" else "x" in text


def test_groups_come_from_the_cards(board: list[Path]) -> None:
    (made,) = build(open_runs(board), Options(group="backbone"))
    groups = {r.name: r.group for r in made.rows}
    assert groups == {
        "zegformer:coco-r101": "ResNet-101",
        "zegformer:coco-r50": "ResNet-50",
        "zegformer:coco-r50+vote": "ResNet-50",
        "ov2vss:sam-vit-b": "SAM ViT-B",
        "oracle-grid": "control rows",
        "theirs:x": "not stated",
    }
    assert made.rows[-1].name == "oracle-grid", "control rows go last"
    (made,) = build(open_runs(board), Options(group="kind"))
    kinds = {r.name: r.group for r in made.rows}
    assert kinds["zegformer:coco-r50"] == "one frame at a time" != kinds["zegformer:coco-r50+vote"]
    assert kinds["zegformer:coco-r50+vote"] == kinds["ov2vss:sam-vit-b"] == "several frames"
    assert any("Grouped by how many frames" in note for note in made.notes)
    rows = list(csv.DictReader(io.StringIO(render(board, format="csv", group="training-data"))))
    assert {r["group"] for r in rows} >= {"control rows"} and all(r["group"] for r in rows)
    plain = json.loads(render(board, format="json", group="backbone"))["tables"][0]
    assert plain["grouped"] == "backbone" and plain["rows"][0]["group"]
    assert "group" not in csv.DictReader(io.StringIO(render(board, format="csv"))).fieldnames  # type: ignore[operator]
    with pytest.raises(UserError, match="unknown grouping 'colour'"):
        render(board, group="colour")


def test_a_network_given_one_frame_counts_as_one_that_sees_one(tmp_path: Path) -> None:
    options = {"temporal": False}
    run = Run.open(
        make_run(tmp_path / "a", 0.5, method="ov2vss", variant="world", kind="video", options=options)
    )
    assert heading(run, "kind") == "one frame at a time"
    assert (
        heading(run, "training-data")
        == "captions of the world (207 of 216 compositions); masks of its seen classes"
    )


HARMFUL = "<script>alert('x')</script> & \"q\""


class _Tags(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_html_is_escaped_and_well_formed() -> None:
    text = html_table(
        HARMFUL, ["#", HARMFUL], [["1", f"{HARMFUL} ± 2"]], [HARMFUL], [["", BEST]], {0: HARMFUL}
    )
    tags = _Tags()
    tags.feed(text)
    assert not tags.open and "script" not in tags.seen
    assert text.isascii() and "&#177;" in text and text.count("&lt;script&gt;") == 5


def test_tex_escapes_what_tex_would_read() -> None:
    assert tex("a_b & 50% #1 {x} $y ~^\\") == (
        "a\\_b \\& 50\\% \\#1 \\{x\\} \\$y \\textasciitilde{}\\textasciicircum{}\\textbackslash{}"
    )
    assert tex("-3.0 [-4.0, -2.0] world-27-9 --set") == "$-$3.0 {[}$-$4.0, $-$2.0] world-27-9 -{}-set"


def documents(board: list[Path]) -> str:
    parts = [
        render(board, format="latex", group="backbone"),
        render(board, format="latex", columns="all"),
        write_reproduction(rebuilt(setting("table2", world=False), []), "latex"),
        booktabs(
            '~^_#&%$\\{}[]<>|"',
            ["[", "a_b (%)", "x"],
            [["[1]", "--x", "-1 [2, 3]"]],
            ["\\relax {"],
            [["", BEST, SECOND]],
        ),
        booktabs(" ".join(UNICODE), ["#", "中 β", "é"], [["1", t, "-1"] for t in UNICODE], UNICODE),
    ]
    return "\n\\clearpage\n".join(parts)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles(board: list[Path], tmp_path: Path) -> None:
    head = "\\documentclass[twocolumn]{article}\n\\usepackage{booktabs}\n\\usepackage{graphicx}\n"
    head += (
        "\\renewcommand{\\resizebox}[3]{\\errmessage{scaled, hence too small to read}}\n\\begin{document}\n"
    )
    (tmp_path / "t.tex").write_text(head + documents(board) + "\n\\end{document}\n")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]
    log = (tmp_path / "t.log").read_text(errors="replace")
    assert "Overfull \\hbox" not in log and "Float too large" not in log
    assert (tmp_path / "t.pdf").stat().st_size > 10_000


UNICODE = [
    "αβΩς",
    "中文",
    "a\u200bb",
    "e\u0329",
    "e\u0301é",
    "→ – — “x” ‘y’ …",
    "---",
    "ﬁ Ａ",
    "\u0301",
    "☃\U0001f600",
    "đþ",
    "\tx\n",
]


def test_tex_is_ascii_and_says_what_it_cannot_print() -> None:
    assert all(tex(text).isascii() for text in UNICODE)
    assert tex("αΩ") == "$\\alpha$$\\Omega$" and tex("Α") == "A"
    assert tex("e\u0301") == tex("é") == "\\'{e}", "composed or not"
    assert tex("a\u200b\u200fb\x07") == "ab"
    assert tex("---") == "-{}-{}-" and "--" not in tex("-----")
    assert tex("中") == "{[}U+4E2D]" and tex("e\u0329") == "e{[}U+0329]"
    assert replaced("x 中 é α") == {"中"} and replaced("e\u0329") == {"\u0329"}
    text = booktabs("t 中", ["#", "m", "x"], [["1", "a", "2"]], [])
    assert text.startswith("% LaTeX's own fonts lack these") and "U+4E2D CJK UNIFIED" in text.split("\n")[0]
    assert "lack" not in booktabs("é α", ["#", "m", "x"], [["1", "a", "2"]], [])


def test_wide_tables_are_parted_and_each_note_is_a_paragraph() -> None:
    head = ["#", "method", *(f"{s} {w}" for s in "abcd" for w in ("published", "measured", "difference"))]
    rows = [[str(i), f"m{i}", *["50.0 ± 1.0 [40.0, 60.0]"] * 12] for i in range(30)]
    text = booktabs("wide", head, rows, ["one note", "another"], together=3)
    parts = text.split("\\toprule\n")[1:]
    assert len(parts) > 2, "wider and higher than a page"
    for part in parts:
        titles = part.partition("\\midrule")[0]
        assert titles.count("measured") == titles.count("published") == titles.count("difference") >= 1
    assert {text.count(f" & m{i} & ") for i in range(30)} == {2}, "every row stands in each set of columns"
    assert text.count("(continued)") == text.count("\\addtocounter{table}{-1}") >= 1
    assert "one note\\par\nanother" in text


def test_no_cell_of_a_csv_file_is_a_formula() -> None:
    for text in ("=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", " =1", "- wall"):
        assert safe_cell(text) == f"'{text}".replace("\r", "\n")
    (cells,) = csv.reader(io.StringIO(csv_text([["a\rb", "c"]])))
    assert cells == ["a\nb", "c"]
    for plain in ("-1.2", "+3", "1e-5", "-", "=", "a=b", "", -1.2, 3, True):
        assert safe_cell(plain) == plain
    assert safe_cell(None) == ""
    made = replace(table(row("=HYPERLINK(1)", 50, -9.5)), partial="@x")
    (line,) = csv.DictReader(io.StringIO(write([made], "csv")))
    assert line["method"] == "'=HYPERLINK(1)" and line["partial"] == "'@x" and line["seen_bias"] == "-9.5"
