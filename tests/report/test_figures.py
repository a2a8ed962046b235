"""Figures: nothing cut off, nothing on top of something else, nothing too small, and the numbers of the summaries."""

from __future__ import annotations

import json
import re
import warnings
import xml.etree.ElementTree as ET
from unittest.mock import patch

import figure_cases
import numpy as np
import pytest
from click.testing import CliRunner
from figure_cases import outside, overlaps, texts, wide_runs
from matplotlib.colors import to_rgb
from PIL import Image
from run_cases import make_run

from ovbench.cli.main import main
from ovbench.cli.plot import command as plot
from ovbench.core.errors import IncompleteError, IntegrityError, UserError
from ovbench.core.paths import room
from ovbench.protocol.load import load_protocol
from ovbench.report.figures import FIGURES, Options, draw, figure_svg
from ovbench.report.figures.files import encode, save
from ovbench.report.figures.scatter import twins
from ovbench.report.figures.series import prepare
from ovbench.report.figures.style import FAINT, PAD, shortened, styled, text_width, undrawable, wrapped
from ovbench.report.find import open_runs
from ovbench.report.model import Run

FROM_RECORDS = [k for k in FIGURES if k not in ("difference", "strip", "vocabulary")]
KEPT = room("results") / "world" / "world-27-9"


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wide")
    return wide_runs(folder), Options(protocol=str(folder / "wide.toml"))


@pytest.fixture(scope="module")
def kept():
    return open_runs(
        [p for m in ("ov2vss", "zegformer", "zegformer+vote") for p in sorted(KEPT.glob(f"{m}-seed*"))]
    )


def check(figure, most=9.6):
    """What a reader in print would complain about."""
    assert outside(figure) == []
    assert overlaps(figure) == []
    assert min(t.get_fontsize() for t, _ in texts(figure)) >= 7
    width, height = figure.get_size_inches()
    assert width in (3.3, 6.9) and height <= most


WIDE = [pytest.param(k, marks=[pytest.mark.slow] * (k != "seen-unseen")) for k in FROM_RECORDS]


@pytest.mark.parametrize(
    "kind", [k for k in FROM_RECORDS if k != "per-class"]
)  # that one is below, with all classes
def test_124_classes_with_long_names(wide, kind):
    runs, options = wide
    check(draw(kind, runs, options))


CLASSES = [
    ("per-class", "all", 124),
    pytest.param("difference", "all", 124, marks=pytest.mark.slow),
    pytest.param("difference", "unseen", 44, marks=pytest.mark.slow),
]


@pytest.mark.parametrize("kind, group, count", CLASSES)
def test_every_class_is_there_and_legible(wide, kind, group, count):
    runs, options = wide
    figure = draw(kind, runs[:2], Options(protocol=options.protocol, group=group))
    check(figure)
    rows = [label.get_text() for axes in figure.axes for label in axes.get_yticklabels()]
    assert len(rows) == count == len(set(rows))


@pytest.mark.parametrize("kind", WIDE)
def test_control_rows_and_page_width(wide, kind):
    runs, options = wide
    figure = draw(kind, runs, Options(width="page", controls=True, limit=9, protocol=options.protocol))
    check(figure)
    assert any("random" in t.get_text() for t, _ in texts(figure))


def test_bars_are_the_summaries_iou(kept):
    seeds = [r for r in kept if r.method["id"] == "ov2vss"]
    (axes,) = draw("per-class", seeds, Options(group="all")).axes
    drawn = sorted(bar.get_width() for bar in axes.patches)
    by_class = [[c["iou"] for c in r.summary["per_class"]] for r in seeds]
    assert np.allclose(drawn, np.sort(np.mean(by_class, axis=0)))


def test_points_are_those_of_the_table(kept):
    from ovbench.report.table import render

    folders = [r.path for r in kept]
    rows = json.loads(render(folders, format="json", mean_seeds=True))["tables"][0]["rows"]
    axes = draw("seen-unseen", kept).axes[0]
    drawn = {(round(float(x), 6), round(float(y), 6)) for line in axes.lines if line.get_linestyle() == "None"
             for x, y in [line.get_xydata()[0]]}  # fmt: skip
    assert drawn == {
        (round(row["cells"]["seen.miou"]["value"], 6), round(row["cells"]["unseen.miou"]["value"], 6))
        for row in rows
    }


def test_shares_add_up_to_the_accuracy_of_the_summary(kept):
    from ovbench.report.figures.confusion import shares_of

    run, protocol = kept[0], load_protocol("world-27-9")
    for group in ("seen", "unseen"):
        shares = shares_of(run, protocol, group)
        assert shares.sum() == pytest.approx(100)
        assert shares[0] == pytest.approx(run.summary["scores"][group]["pacc"])
    assert shares_of(run, protocol, "unseen")[2] == pytest.approx(run.summary["scores"]["seen_bias"])


def test_a_method_looks_the_same_in_every_figure(kept):
    whole = {e.name: e for e in prepare(kept, Options()).entries}
    part = {e.name: e for e in prepare([r for r in kept if "zegformer" in r.method["id"]], Options()).entries}
    assert {n: e.colour for n, e in part.items()} == {n: whole[n].colour for n in part}
    assert (
        whole["zegformer:world"].colour
        == whole["zegformer:world+vote"].colour
        != whole["ov2vss:world"].colour
    )
    assert (whole["zegformer:world+vote"].wrapper, whole["zegformer:world"].wrapper) == ("vote", "")


def test_seeds_together_or_each(kept):
    assert [len(e.runs) for e in prepare(kept, Options()).entries] == [3, 3, 3]
    assert len(prepare(kept, Options(seeds="each")).entries) == 9
    with pytest.raises(UserError, match="unknown way"):
        draw("speed", kept, Options(seeds="some"))


def test_equal_runs_equal_bytes(kept):
    first, second = draw("speed", kept), draw("speed", kept)
    for form in ("pdf", "svg", "png"):
        assert encode(first, form, dpi=60) == encode(second, form, dpi=60)


def test_svg_for_a_page(wide):
    runs, options = wide
    parts = [
        figure_svg(kind, runs, Options(protocol=options.protocol, group="unseen")) for kind in FROM_RECORDS
    ]
    ids = []
    for kind, part in zip(FROM_RECORDS, parts, strict=True):
        root = ET.fromstring(part)  # well-formed, one element, names escaped
        assert root.tag == "{http://www.w3.org/2000/svg}svg" and root.get("aria-label") == FIGURES[kind][1]
        assert not re.search(r"<script|<\?xml|<!DOCTYPE|<image|on\w+=", part)
        assert set(re.findall(r'https?://[^"<]*', part)) <= {"http://www.w3.org/2000/svg"}
        assert "<text" in part and "currentColor" in part and "#000000" not in part
        found = re.findall(r'\bid="([^"]*)"', part)
        used = {*re.findall(r'href="#([^"]*)"', part), *re.findall(r"url\(#([^)]*)\)", part)}
        assert used <= set(found)
        ids += found
    assert len(ids) == len(set(ids))
    assert "&lt;script&gt;" in parts[0]


def small_print(figure):
    return " ".join(t.get_text() for t in reversed(figure.texts))


def levels(figure):
    """Value -> (label's place, nearest distance to the curve of that value), in parts of the axes."""
    axes = figure.axes[0]
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    curves = [line.get_xydata() for line in axes.lines if len(line.get_xdata()) > 100]
    found = {}
    for text in axes.texts:
        s, u = (axes.transAxes + axes.transData.inverted()).transform(text.get_position())
        level = float(text.get_text())
        own = [c for c in curves if np.nanmax(abs(2 * c[:, 0] * c[:, 1] / c.sum(axis=1) - level)) < 1e-6]
        assert len(own) == 1  # the number is that of a curve that is drawn
        gap = np.hypot((own[0][:, 0] - s) / (right - left), (own[0][:, 1] - u) / (top - bottom))
        found[level] = (text.get_position(), float(np.nanmin(gap)))
    return found, len(curves)


def test_curves_are_named_where_they_are(kept):
    deop = open_runs(sorted(KEPT.glob("deop-seed?")))
    both = draw("seen-unseen", [*kept, *deop])
    check(both)
    found, curves = levels(both)
    assert len(found) == curves >= 4  # every curve has its number ...
    assert all(gap < 0.08 for _, gap in found.values())  # ... beside it
    inner = [level for level, ((x, y), _) in found.items() if 0 < x < 1 and 0 < y < 1]
    assert inner  # one that comes in at the left and leaves below
    near = draw("seen-unseen", deop)
    check(near)
    found, curves = levels(near)
    assert len(found) == curves and all(gap < 0.08 for _, gap in found.values())


def test_two_networks_of_one_method_are_not_one_figure(tmp_path):
    runs = []
    for i, profile in enumerate(("paper", "release")):
        about = {"options": {"given": {}, "resolved": {"profile": profile}}}
        runs.append(
            Run.open(make_run(tmp_path / profile, 0.5 + 0.1 * i, method="ov2vss", seed=i, changes=about))
        )
    for kind in ("seen-unseen", "speed", "confusion", "vocabulary"):
        with pytest.raises(UserError, match="2 profiles of ov2vss"):
            draw(kind, runs)
    assert len(prepare(runs, Options(profile="paper")).entries) == 1


def test_a_speed_of_zero_is_left_out_and_said(tmp_path):
    made = [make_run(tmp_path / m, 0.5, method=m) for m in ("san", "deop")]
    for path, value in zip(made, (7.0, 0.0), strict=True):
        (path / "timing.json").write_text(json.dumps({"frames_per_second": value}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = draw("speed", [Run.open(p) for p in made])
        encode(figure, "png", dpi=60)
    assert "no number above 0: deop" in small_print(figure)
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["san"]
    with pytest.raises(UserError, match="1 say no number above 0"):
        draw("speed", [Run.open(made[1])])


def test_signs_without_a_letter_are_said_once(tmp_path):
    runs = [Run.open(make_run(tmp_path / m, 0.5, method=m)) for m in ("方法-路面", "san")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = draw("seen-unseen", runs)
        for form in ("pdf", "png", "svg"):
            encode(figure, form, dpi=60)
        assert "方法-路面" in figure_svg("seen-unseen", runs)
    assert undrawable(figure).endswith("no such signs: 方 法 路 面")
    result = CliRunner().invoke(
        plot, ["seen-unseen", *(str(r.path) for r in runs), "--out", str(tmp_path / "x.svg")]
    )
    assert result.exit_code == 0 and result.output.count("no such signs") == 1


def test_small_print_is_dark_and_says_what_is_shown(kept):
    figure = draw("confusion", kept[:3])
    assert "No class" not in small_print(figure) and "too narrow for their number" in small_print(figure)
    for text in figure.texts:
        linear = [
            c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(text.get_color())
        ]
        assert 1.05 / (0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05) >= 7
    assert FAINT not in figure_svg("confusion", kept[:3])  # pages may be dark


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["seen-unseen", "consistency", "speed", "per-video", "confusion"])
@pytest.mark.parametrize("controls", [False, True])
def test_the_whole_board_is_legible(kind, controls):
    check(draw(kind, open_runs([KEPT]), Options(controls=controls)))


def test_files(wide, tmp_path):
    runs, options = wide
    figure = draw("speed", runs, options)
    written = save(figure, tmp_path / "a.b1")
    assert [p.name for p in written] == ["a.b1.pdf", "a.b1.svg", "a.b1.png"]
    assert [p.name for p in save(figure, tmp_path / "a.b1.", ["svg"])] == ["a.b1.svg"]
    with pytest.raises(UserError, match="a folder, not a file"):
        save(figure, tmp_path / "..")
    assert written[0].read_bytes()[:5] == b"%PDF-" and b"/Type3" not in written[0].read_bytes()
    with pytest.raises(UserError, match="not written as '.jpg'"):
        save(figure, tmp_path / "a.jpg")
    assert len(list(tmp_path.iterdir())) == 3


def test_strip(kept, tmp_path):
    with pytest.raises((UserError, IncompleteError)) as error:
        draw("strip", kept[:1])
    assert "--save-predictions" in str(error.value)
    assert error.value.hint.startswith("ovbench run ") and "--method ov2vss" in error.value.hint
    out = tmp_path / "majority"
    argv = [
        "--method",
        "majority",
        "--protocol",
        "world-27-9",
        "--videos",
        "1",
        "--frames",
        "6",
        "--jobs",
        "1",
    ]
    with pytest.raises(SystemExit) as end:
        main(["run", *argv, "--save-predictions", "--out", str(out)])
    assert end.value.code == 0
    figure = draw("strip", [Run.open(out)])
    check(figure)
    (picture, *_) = sorted((out / "predictions").rglob("*.png"))
    kept_bytes = picture.read_bytes()
    Image.fromarray(np.full((96, 160), 3, np.uint8)).save(picture)
    with pytest.raises(IntegrityError, match="not those that were scored"):
        draw("strip", [Run.open(out)])
    picture.unlink()
    with pytest.raises(
        IncompleteError, match=f"1 of 6 label maps of video 'test-000' are missing: {picture.stem}"
    ):
        draw("strip", [Run.open(out)])
    picture.write_bytes(kept_bytes)
    assert [len(a.get_images()) for a in figure.axes] == [1, 1, 1]  # the video, its truth, the run
    assert figure.axes[1].get_images()[0].get_array().shape == (6, 160, 3)
    assert "0.0 %" in [t.get_text() for t, _ in texts(figure)]  # one answer for all pixels never changes
    with pytest.raises(UserError, match="no pixel row 5000"):
        draw("strip", [Run.open(out)], Options(row=5000))


@pytest.mark.parametrize("name", ["bus", "egg", "toy", "van", "cat", "dog *"])
def test_a_text_fits_into_its_own_width(name):
    left = text_width(name) + 0.1 + PAD
    assert shortened([name, "x"], left - 0.1 - PAD)[0] == name


def test_legends_are_read_row_by_row(kept):
    figure = draw("per-class", [*kept, *open_runs(sorted(KEPT.glob("san-seed?")))])
    encode(figure, "png", dpi=60)
    (legend,) = figure.legends
    boxes = [(t.get_window_extent(), t.get_text()) for t in legend.get_texts()]
    read = [name for _, name in sorted(boxes, key=lambda b: (-round(b[0].y0), b[0].x0))]
    entries, _ = prepare([*kept, *open_runs(sorted(KEPT.glob("san-seed?")))], Options()).shown(Options(), 4)
    assert len({round(box.y0) for box, _ in boxes}) == 2 and read == [e.name for e in entries]


@pytest.mark.parametrize("kind", ["per-class", "seen-unseen", "per-video", "confusion"])
def test_untrained_runs_say_so(tmp_path, kind):
    runs = [
        Run.open(make_run(tmp_path / "zegformer", 0.6, method="zegformer", untrained=True)),
        Run.open(make_run(tmp_path / "deop", 0.8, method="deop")),
    ]
    said = " ".join(t.get_text() for t, _ in texts(draw(kind, runs)))
    assert "zegformer (untrained)" in said and "deop (untrained)" not in said


def test_twins_of_untrained_runs_are_joined(tmp_path):
    runs = [
        Run.open(make_run(tmp_path / m, 0.6, method=m, untrained=True))
        for m in ("zegformer", "zegformer+vote")
    ]
    pairs = twins(prepare(runs, Options()).entries)
    assert [tuple(e.name for e in p) for p in pairs] == [
        ("zegformer (untrained)", "zegformer+vote (untrained)")
    ]


def test_no_interval_no_word_of_it(tmp_path):
    run = Run.open(make_run(tmp_path / "one", 0.6, videos=("v0",)))
    for kind in ("per-class", "seen-unseen"):
        assert "95 %" not in small_print(draw(kind, [run]))
    assert "95 %" in small_print(draw("per-class", [Run.open(make_run(tmp_path / "eight", 0.6))]))


def test_another_score_than_the_headline_has_a_reason(kept, tmp_path):
    run = Run.open(make_run(tmp_path / "run", 0.6))
    with patch("ovbench.report.figures.per_video.per_video") as found:
        found.side_effect = lambda entry, key: np.where(
            [key != "all.miou", *[False] * (len(entry.sample.units) - 1)], np.nan, 50.0
        )
        said = small_print(draw("per-video", [run]))
    assert "All mIoU instead of harmonic mIoU" in said and "one without unseen classes has none" in said
    assert "instead of" not in small_print(draw("per-video", [run]))


def test_what_cannot_be_drawn_says_why(kept, wide, tmp_path):
    with pytest.raises(UserError, match="unknown figure 'bars'"):
        draw("bars", kept)
    with pytest.raises(UserError, match="two methods; these runs are of 3"):
        draw("difference", kept)
    with pytest.raises(UserError, match="unknown group of classes 'sky'"):
        draw("per-class", kept, Options(group="sky"))
    with pytest.raises(UserError, match="unknown score"):
        draw("speed", kept, Options(score="unseen.iou"))
    with pytest.raises(UserError, match="unknown window '5'"):
        draw("consistency", kept, Options(window=5))
    with pytest.raises(UserError, match="do not belong in one figure"):
        draw("speed", [kept[0], Run.open(make_run(tmp_path / "camvid", 0.5))])
    with pytest.raises(IncompleteError):
        draw("speed", [Run.open(make_run(tmp_path / "half", 0.5, unfinished=True), unfinished=True)])


def test_a_changed_summary_is_not_drawn(tmp_path):
    path = make_run(tmp_path / "run", 0.5)
    summary = json.loads((path / "summary.json").read_text())
    summary["scores"]["seen"]["miou"] += 5
    (path / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(IntegrityError, match="the records give"):
        draw("seen-unseen", [Run.open(path)])


def test_command(kept, tmp_path):
    result = CliRunner().invoke(
        plot,
        ["speed", *(str(r.path) for r in kept), "--out", str(tmp_path / "x.svg")],
    )
    assert result.exit_code == 0 and result.output.split() == [str(tmp_path / "x.svg")]
    ET.fromstring((tmp_path / "x.svg").read_text())


def test_text_is_measured_as_it_is_drawn():
    line = "the quick brown fox jumps over the lazy dog, Wörter mit Umlauten & 0123456789"
    with styled(), warnings.catch_warnings():
        warnings.simplefilter("error")
        from matplotlib.figure import Figure

        figure = Figure()
        figure.text(0, 0, line, fontsize=7)
        ((_, box),) = texts(figure)
        assert box.width / figure.dpi == pytest.approx(text_width(line), rel=0.01)
        assert all(text_width(part) <= 1.5 for part in wrapped(line, 1.5))
        names = figure_cases.long_names(124)
        short = shortened(names, 1.3)
        assert len(set(short)) == 124 and all(text_width(s) <= 1.3 for s in short)
