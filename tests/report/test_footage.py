"""Footage: colours and errors by hand, pictures read back pixel by pixel, sheets by arithmetic."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from ovbench.protocol.load import load_protocol, protocol_ids
from ovbench.report.footage import OTHER, VOID, class_colours, palette
from ovbench.report.footage.colours import (
    ABSTAINED,
    ERRORS,
    RIGHT,
    SEEN_BIAS,
    UNJUDGED,
    WRONG,
    error_map,
    paint,
    predicted_classes,
    truth_classes,
)
from ovbench.report.footage.legend import class_entries
from ovbench.report.footage.scene import Scene, board, share_right
from ovbench.report.footage.sheet import Entry, Row, fit, lay_out, text_width
from ovbench.report.footage.strip import draw

GZS = "camvid-8-3-gzs"


@pytest.fixture(scope="module")
def protocol():
    return load_protocol(GZS)


@pytest.mark.parametrize("name", protocol_ids())
def test_every_class_has_a_colour_of_its_own(name):
    protocol = load_protocol(name)
    colours = class_colours(protocol)
    assert colours.shape == (len(protocol.classes), 3) and colours.dtype == np.uint8
    assert len({*map(tuple, palette(protocol).tolist())}) >= len(colours)
    assert len({*map(tuple, colours.tolist())}) == len(colours)


def test_indices_and_colours(protocol):
    truth = truth_classes(np.array([[0, 3, 11]], np.uint8), protocol)
    assert truth.tolist() == [[0, 3, VOID]]
    for dtype, other in ((np.uint8, 255), (np.uint16, 65535)):
        assert predicted_classes(np.array([[2, other]], dtype), protocol).tolist() == [[2, OTHER]]
    colours = paint(np.array([[3, VOID, OTHER]]), protocol)
    assert colours[0].tolist() == [list(protocol.classes[3].color), [0, 0, 0], [255, 255, 255]]


def test_classes_that_are_not_scored_are_void():
    truth = truth_classes(np.array([[0, 9]], np.uint8), load_protocol("camvid-8-3"))
    assert truth.tolist() == [[VOID, 9]]


def test_errors_by_hand(protocol):
    unseen, seen = protocol.groups["unseen"], protocol.groups["seen"]
    truth = np.array([[seen[0], seen[0], unseen[0], unseen[0], seen[0], VOID]], np.int16)
    guess = np.array([[seen[0], unseen[0], seen[1], unseen[1], OTHER, seen[0]]], np.int16)
    found = error_map(truth, guess, protocol)
    assert found.tolist() == [[RIGHT, WRONG, SEEN_BIAS, WRONG, ABSTAINED, UNJUDGED]]
    assert share_right([found, None]) == pytest.approx(100 / 5)
    assert share_right([np.full((2, 2), UNJUDGED, np.uint8)]) is None


def scene(protocol, guess=8, truth=True, size=(30, 40)):
    classes = np.zeros(size, np.int16)
    classes[10:20] = 3
    classes[20:] = VOID
    photo = np.full((*size, 3), 200, np.uint8)
    return Scene.of("f", photo, classes if truth else None, [np.full(size, guess, np.int16)], protocol)


def pixels_of(figure):
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=100)
    pixels = np.asarray(Image.open(stream).convert("RGB")).reshape(-1, 3)
    return {tuple(c) for c in np.unique(pixels, axis=0).tolist()}


def words_of(figure):
    return [t.get_text() for t in [*figure.texts, *(t for a in figure.axes for t in a.texts)]]


def test_a_strip_holds_the_colours_of_what_is_there_and_no_other(protocol):
    figure = draw([scene(protocol), scene(protocol, OTHER)], ["m"], protocol)
    found = pixels_of(figure)
    for index in (0, 3, 8):
        assert protocol.classes[index].color in found
    for index in (1, 5):
        assert protocol.classes[index].color not in found
    assert (200, 200, 200) in found  # the photograph
    words = words_of(figure)
    present = [protocol.classes[c] for c in (0, 3, 8)]
    assert {c.clean + ("" if c.seen else " *") for c in present} <= set(words)
    assert protocol.classes[1].clean not in words
    assert {"(abstained)", "(not evaluated)", "abstained", "not evaluated"} <= {*words}
    assert "m   0.0 % right in these frames" in words and "right" not in words
    assert ERRORS[ABSTAINED][1] in found


def test_without_errors_and_without_truth(protocol):
    plain = draw([scene(protocol), scene(protocol)], ["m"], protocol, errors=False)
    assert len(plain.axes) == 3 * 2 and "wrong" not in words_of(plain)
    blind = draw([scene(protocol, truth=False), scene(protocol)], ["m"], protocol)
    assert len(blind.axes) == 4 * 2 and "no truth" in words_of(blind)
    assert len(draw([scene(protocol, truth=False)] * 2, ["m"], protocol).axes) == 2 * 2


def test_a_single_frame_is_a_board(protocol):
    figure = draw([scene(protocol)], ["m"], protocol)
    assert len(figure.axes) == 4
    assert {"frame f", "m", "truth", "errors   0.0 % right"} <= set(words_of(figure))


def test_boards_leave_no_hole_inside():
    assert board(2, True) == [
        [("image", -1), ("labels", 0), ("labels", 1)],
        [("truth", -1), ("errors", 0), ("errors", 1)],
    ]
    rows = board(8, True)
    assert [len(row) for row in rows] == [4, 4, 4, 4, 1, 1]
    assert board(1, False) == [[("image", -1), ("truth", -1), ("labels", 0)]]


NAMES = ["wall", "x" * 200, "a $b$ _c", "<script>", "_hidden", "é ü ß", "two\nlines"]


@pytest.mark.parametrize("columns", [1, 4, 8])
@pytest.mark.parametrize("entries", [0, 1, 44, 126])
def test_nothing_leaves_the_sheet_and_nothing_overlaps(columns, entries):
    many = [Entry(f"{NAMES[i % 7]} {i}", (i, 0, 0), " *" * (i % 2)) for i in range(entries)]
    rows = [Row(tuple("t" * 90 for _ in range(columns))), Row(("r" * 400,)), Row()]
    sheet = lay_out(rows, columns, (6.9 / columns - 0.1, 0.5), [many, []])
    assert len(sheet.boxes) == 3 and all(len(row) == columns for row in sheet.boxes)
    spans = []
    for left, middle, text in sheet.texts:
        assert "\n" not in text
        assert left >= 0 and left + text_width(text) <= sheet.width + 1e-6, text
        assert 0 < middle < sheet.height
        spans.append((round(middle, 4), left, left + text_width(text)))
    for (row, _, end), (other, start, _) in zip(sorted(spans), sorted(spans)[1:], strict=False):
        assert row != other or end <= start
    for box, _ in sheet.swatches:
        assert box.left >= 0 and box.left + box.width <= sheet.width and box.top + box.height <= sheet.height
    tiles = [(row[0].top, row[0].top + row[0].height) for row in sheet.boxes]
    assert not any(top < middle < bottom for _, middle, _ in sheet.texts for top, bottom in tiles)


def test_drawn_texts_lie_in_the_figure(protocol):
    """The same with matplotlib's own measure, and 124 long names."""
    protocol = load_protocol("vspw-80-44-gzs")
    rows = [
        replace(c, clean=f"{c.clean} of a $very$ long generated name {i}")
        for i, c in enumerate(protocol.classes)
    ]
    protocol = replace(protocol, classes=tuple(rows))
    labels = (np.arange(1600).reshape(40, 40) % 124).astype(np.int16)
    photo = np.zeros((40, 40, 3), np.uint8)
    scenes = [Scene.of("frankfurt_000000_000294_leftImg8bit_of_old", photo, labels, [labels.T] * 4, protocol)]
    figure = draw(scenes * 3, [f"method-{i} (option={'x' * 90}) [seed {i}]" for i in range(4)], protocol)
    figure.canvas.draw()
    inside = figure.bbox
    renderer = figure.canvas.get_renderer() if hasattr(figure.canvas, "get_renderer") else None
    drawn = [t.get_window_extent(renderer) for t in figure.texts]
    assert len(drawn) > 124 and all(t.get_fontsize() >= 7 for t in figure.texts)
    for box, text in zip(drawn, figure.texts, strict=True):
        assert box.x0 >= inside.x0 - 1 and box.x1 <= inside.x1 + 1, text.get_text()
        assert box.y0 >= inside.y0 - 1 and box.y1 <= inside.y1 + 1, text.get_text()
    assert sum("[seed 3]" in text.get_text() for text in figure.texts) == 1  # cut, and still told apart


def test_cut_names_keep_both_ends():
    short = fit("the name of a method (temporal=off) [seed 3]", 1.2)
    assert short.startswith("the") and short.endswith("3]") and "…" in short and text_width(short) <= 1.2
    assert fit("short", 1.2) == "short"
    assert text_width(fit("x" * 5000, 2.0)) <= 2.0


def test_legends_name_what_occurs(protocol):
    assert class_entries(set(), protocol) == []
    unseen = protocol.groups["unseen"][0]
    entries = class_entries({0, unseen, OTHER, VOID}, protocol)
    assert [e.name for e in entries] == [
        protocol.classes[0].clean,
        protocol.classes[unseen].clean,
        "(abstained)",
        "(not evaluated)",
        "* = unseen in training",
    ]
    assert [e.mark for e in entries[:2]] == ["", " *"]
