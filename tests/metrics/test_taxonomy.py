"""Tables of names, and the two scores that rest on them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metrics_cases import Rec, make_protocol

from ovbench.core.errors import UserError
from ovbench.core.paths import room
from ovbench.metrics.counts import Joint, VideoCounts
from ovbench.metrics.openvocab import Merged, open_vocabulary, soft_ious
from ovbench.metrics.sample import run_sample
from ovbench.metrics.score import summarize
from ovbench.metrics.taxonomy import Taxonomy, load_taxonomy, read_taxonomy, taxonomy_for
from ovbench.protocol.load import load_protocol, protocol_ids

SHIPPED = sorted(p.stem for p in (room("protocols") / "taxonomies").glob("*.toml"))


def taxonomy(groups=(), parents=()):
    return Taxonomy("t", 1, {f"g{i}": tuple(g) for i, g in enumerate(groups)}, tuple(parents), "h")


# --- the tables ------------------------------------------------------------------------------------------


def test_shipped_tables_are_sound_and_small():
    assert SHIPPED == ["camvid", "cityscapes", "vspw"]
    for name in SHIPPED:
        table = load_taxonomy(name)
        assert table.id == name and table.version >= 1 and len(table.hash) == 64
        assert table.groups
    vspw = load_taxonomy("vspw")
    names = [c.name for c in load_protocol("vspw-124").classes]
    groups = [{names[c] for c in members} for members in vspw.groups.values()]
    assert {"wall", "building", "house"} in groups and {"sea", "river", "lake", "water"} in groups
    assert not any({"car", "bus"} <= g for g in groups)  # look-alikes are no excuse
    assert (names.index("other_animal"), names.index("dog")) in vspw.parents
    assert sum(len(g) for g in groups) < len(names) / 4  # most names stand for themselves


def test_which_protocols_have_one():
    found = {name: taxonomy_for(load_protocol(name)) for name in protocol_ids()}
    for name, table in found.items():
        expected = next((t for t in SHIPPED if name.startswith(t)), None)
        if name == "vspw-80-44-asreleased":  # its class table lacks a name
            expected = None
        assert (table.id if table else None) == expected, name
    # only names that are scored: the conventional protocol has the unseen ones
    unseen = load_protocol("vspw-80-44")
    names = {unseen.classes[c].name for g in found["vspw-80-44"].groups.values() for c in g}
    assert names == {"chair_or_seat", "bench", "sofa", "screen_or_television", "computer"}
    assert found["vspw-80-44"].hash == found["vspw-124"].hash


def test_a_table_is_for_exactly_these_names():
    protocol = load_protocol("camvid-8-3-gzs")
    assert taxonomy_for(protocol) is not None
    rows = [dataclasses.replace(c, name=c.name.title()) for c in protocol.classes]
    assert taxonomy_for(dataclasses.replace(protocol, classes=tuple(rows))) is None
    assert taxonomy_for(make_protocol()) is None


HEAD = 'id = "t"\nversion = 1\nclass_table = "classes/camvid.csv"\n'
GROUP = '[[groups]]\nname = "{}"\nclasses = {}\nwhy = "because"\n'
PARENT = '[[parents]]\nparent = "{}"\nchildren = {}\nwhy = "because"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GROUP.format("a", '["sky", "raod"]'), "unknown class 'raod'"),
        (
            GROUP.format("a", '["sky", "road"]') + GROUP.format("b", '["car", "road"]'),
            "'road' is in two groups",
        ),
        (GROUP.format("a", '["sky", "road"]') + GROUP.format("a", '["car", "pole"]'), "two groups 'a'"),
        (GROUP.format("a", '["sky"]'), "needs two or more"),
        (GROUP.format("a", '["sky", "sky"]'), "appears twice"),
        (GROUP.format("a", '"sky"'), "not such a list"),
        ('[[groups]]\nname = "a"\nclasses = ["sky", "road"]\n', "'why' is missing"),
        ('[groups]\nname = "a"\n', "not a list of tables"),
        ("[[groups]]\nclass = 3\n", "unknown key 'class'"),
        (PARENT.format("skies", '["road"]'), "unknown class 'skies'"),
        (PARENT.format("sky", '["skies"]'), "unknown class 'skies'"),
        (PARENT.format("sky", '["sky"]'), "contain each other"),
        (PARENT.format("sky", '["road"]') + PARENT.format("road", '["sky"]'), "contain each other"),
        (PARENT.format("sky", '["road"]') + PARENT.format("sky", '["car"]'), "as a parent twice"),
        (PARENT.format("sky", "[]"), "has no children"),
        ("colour = 1\n", "unknown key 'colour'"),
        ("[[", "not valid TOML"),
    ],
)
def test_mistakes_are_named(tmp_path, text, message):
    path = tmp_path / "t.toml"
    path.write_text(HEAD + text)
    with pytest.raises(UserError, match=message) as error:
        read_taxonomy(path)
    assert str(path) in str(error.value)


def test_mistakes_at_the_top(tmp_path):
    path = tmp_path / "other.toml"
    for text, message in (
        (HEAD, "differs from the file's name"),
        (HEAD.replace('"t"', '"other"').replace("1", "0"), "where a version is expected"),
        (HEAD.replace('"t"', '"other"').replace("camvid", "camvit"), "does not exist"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=message):
            read_taxonomy(path)
    with pytest.raises(UserError, match="does not exist"):
        read_taxonomy(tmp_path / "none.toml")
    with pytest.raises(UserError, match="unknown taxonomy 'vspv'"):
        load_taxonomy("vspv")


def test_the_hash_covers_relations_not_reasons(tmp_path):
    path = tmp_path / "t.toml"

    def digest(text):
        path.write_text(text)
        return read_taxonomy(path).hash

    first = digest(HEAD + GROUP.format("a", '["sky", "road"]'))
    assert first == digest(
        HEAD + "# a remark\n" + GROUP.format("a", '["road", "sky"]').replace("because", "so")
    )
    assert first != digest(HEAD + GROUP.format("a", '["sky", "car"]'))
    assert first != digest(HEAD.replace("1", "2") + GROUP.format("a", '["sky", "road"]'))
    assert first != digest(HEAD + GROUP.format("a", '["sky", "road"]') + PARENT.format("sky", '["road"]'))


# --- merged ----------------------------------------------------------------------------------------------

# Rows truth, columns prediction, last one abstained. Classes 0 and 1 are seen, 2 and 3 unseen.
MATRIX = np.array([[6, 2, 1, 0, 1], [1, 4, 0, 0, 0], [0, 1, 2, 2, 0], [0, 0, 3, 1, 0]])
FOUR = (True, True, False, False)


def test_merged_by_hand():
    protocol = make_protocol(FOUR)
    found = open_vocabulary(protocol, MATRIX, taxonomy(groups=[(0, 1)]))
    assert found["taxonomy"] == {"id": "t", "version": 1, "hash": "h"}
    # merged: 13 of 15 truth pixels and 14 predicted ones; alone: 2 of 5 and 6, 1 of 4 and 3
    together, third, fourth = 13 / 16, 2 / 9, 1 / 6
    assert found["merged"]["all"]["miou"] == pytest.approx(100 * (together + third + fourth) / 3)
    assert found["merged"]["seen"] == {"miou": pytest.approx(100 * together), "classes": 1}
    assert found["merged"]["unseen"]["miou"] == pytest.approx(100 * (third + fourth) / 2)
    assert found["merged"]["all"]["classes"] == 3
    found = open_vocabulary(protocol, MATRIX, taxonomy(groups=[(0, 1), (2, 3)]))["merged"]
    assert found["unseen"]["miou"] == pytest.approx(100 * 8 / (9 + 9 - 8))


def test_a_merged_class_with_a_seen_member_is_seen():
    protocol = make_protocol(FOUR, groups={"novel": (2,), "mixed": (1, 2, 3)})
    merged = Merged(protocol, taxonomy(groups=[(1, 2)]))
    assert merged.classes == [(0,), (1, 2), (3,)]
    assert {g: m.tolist() for g, m in merged.groups.items()} == {
        "all": [0, 1, 2],
        "seen": [0, 1],
        "unseen": [2],
        "novel": [],
        "mixed": [1, 2],
    }
    found = open_vocabulary(protocol, MATRIX, taxonomy(groups=[(1, 2)]))["merged"]
    assert found["unseen"] == {"miou": pytest.approx(100 / 6), "classes": 1}
    assert found["novel"] == {"miou": None, "classes": 0}


def test_absent_classes_leave_the_merged_mean():
    protocol = make_protocol(FOUR)
    matrix = MATRIX.copy()
    matrix[[1, 3]] = 0
    found = open_vocabulary(protocol, matrix, taxonomy(groups=[(0, 1)]))["merged"]
    assert found["all"]["classes"] == 2  # class 1 lives on in its group
    assert found["seen"]["miou"] == pytest.approx(100 * 8 / (10 + 9 - 8))


tables = st.lists(st.lists(st.integers(0, 30), min_size=5, max_size=5), min_size=4, max_size=4)


@settings(max_examples=60, deadline=None)
@given(tables)
def test_an_empty_table_changes_nothing(rows):
    protocol, matrix = make_protocol(FOUR, windows=()), np.array(rows)
    joint = Joint.of((t + 1, -1 if p == 4 else p, n) for t, row in enumerate(rows) for p, n in enumerate(row))
    record = Rec("v", VideoCounts(1, 1, 1, 1, 1, joint))
    plain = summarize(protocol, [record], {}, expected_videos=["v"])["scores"]
    found = open_vocabulary(protocol, matrix, taxonomy())
    for group in ("all", "seen", "unseen"):
        value = plain[group]["miou"]
        for kind in ("merged", "soft"):
            assert found[kind][group]["miou"] == (None if value is None else pytest.approx(value))


# --- soft ------------------------------------------------------------------------------------------------


def test_soft_by_hand():
    # 1 is the parent of 0 and of 2; it is predicted on 2 + 4 + 1 pixels.
    iou, soft = soft_ious(MATRIX, taxonomy(parents=[(1, 0), (1, 2)]))
    assert iou == pytest.approx([100 * 6 / 11, 100 * 4 / 8, 100 * 2 / 9, 100 * 1 / 6])
    credit = [6 + 2 * (2 + 4) / 7, 4, 2 + 1 * (1 + 4) / 7, 1]
    assert soft == pytest.approx([100 * credit[0] / 11, 50.0, 100 * credit[2] / 9, 100 / 6])
    found = open_vocabulary(make_protocol(FOUR), MATRIX, taxonomy(parents=[(1, 0), (1, 2)]))["soft"]
    assert found["unseen"]["miou"] == pytest.approx((soft[2] + soft[3]) / 2)
    # the other way round, calling a parent by its child's name, earns nothing
    assert (soft_ious(MATRIX, taxonomy(parents=[(0, 3)]))[1] == iou).all()


def slow_soft(matrix, parents):
    """The formula as the docstring has it, with M[predicted, truth]."""
    table = matrix[:, :-1].T
    values = []
    for c in range(len(table)):
        truth, predicted = matrix[c].sum(), table[c].sum()
        hit = soft = table[c, c]
        for f in [p for p, child in parents if child == c]:
            if table[f].sum():
                soft = soft + table[f, c] * (table[f, c] + table[f, f]) / table[f].sum()
        values.append(100 * soft / (truth + predicted - hit) if truth else np.nan)
    return values


pairs = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 3)).filter(lambda p: p[0] < p[1]), max_size=6, unique=True
)


@settings(max_examples=100, deadline=None)
@given(tables, pairs, st.permutations(range(4)))
def test_soft_lies_between_iou_and_accuracy(rows, parents, order):
    matrix = np.array(rows)
    iou, soft = soft_ious(matrix, taxonomy(parents=parents))
    np.testing.assert_allclose(soft, slow_soft(matrix, parents), atol=1e-9)
    there = matrix.sum(axis=1) > 0
    assert np.array_equal(np.isnan(soft), ~there)
    acc = 100 * (
        np.diagonal(matrix)
        + np.array([sum(r[p] for p, c in set(parents) if c == i) for i, r in enumerate(rows)])
    )
    assert (soft[there] >= iou[there]).all() and (
        soft[there] <= acc[there] / matrix.sum(axis=1)[there] + 1e-9
    ).all()
    related = {c for p, c in parents if matrix[c, p]}
    assert all(soft[c] == iou[c] for c in range(4) if c not in related and there[c])
    # names do not matter
    place = list(order)
    moved = matrix[place][:, [*place, 4]]
    renamed = [(place.index(p), place.index(c)) for p, c in parents]
    np.testing.assert_allclose(soft_ious(moved, taxonomy(parents=renamed))[1], soft[place], atol=1e-9)


# --- in a summary ----------------------------------------------------------------------------------------


def camvid_records(protocol, videos=3):
    rng = np.random.default_rng(0)
    names = len(protocol.vocabulary_classes)
    records = []
    for v in range(videos):
        rows = {
            (int(rng.integers(0, 11)), int(rng.integers(-1, names))): int(rng.integers(1, 500))
            for _ in range(60)
        }
        joint = Joint.of((t, g, n) for (t, g), n in rows.items())
        records.append(Rec(f"v{v}", VideoCounts(1, 1, 1, 1, 1, joint)))
    return records


@pytest.mark.parametrize("name", ["camvid-8-3-gzs", "camvid-8-3"])
def test_summary_and_sample_hold_the_same(name):
    protocol = load_protocol(name)
    records = camvid_records(protocol)
    expected = [r.video_id for r in records]
    summary = summarize(protocol, records, {}, expected_videos=expected)
    part = summary["open_vocabulary"]
    assert set(part) == {"taxonomy", "merged", "soft"} and part["taxonomy"]["id"] == "camvid"
    assert set(part["merged"]) == set(part["soft"]) == {"all", "seen", "unseen"}
    point = run_sample(protocol, records).point()
    for group, values in part["merged"].items():
        assert point[f"{group}.merged_miou"] == values["miou"]
        interval = summary["intervals"]["open_vocabulary"]["merged"][group]
        assert (interval is None) == (values["miou"] is None)
        assert interval is None or interval[0] <= interval[1]
    # pedestrian and bicyclist are both unseen and are one class after merging
    assert part["merged"]["unseen"]["classes"] == summary["counts"]["classes"]["unseen"] - 1
    assert "all.merged_miou" not in run_sample(protocol, records, convention="gt-present+base-ignored").names
    other = dataclasses.replace(protocol, convention="per-image+abstain-shrinks")
    assert summarize(other, records, {}, expected_videos=expected)["open_vocabulary"] == part


def test_no_table_no_numbers():
    protocol = make_protocol(windows=())
    record = Rec("v", VideoCounts(1, 1, 1, 1, 1, Joint((1,), (0,), (3,))))
    summary = summarize(protocol, [record], {}, expected_videos=["v"])
    assert summary["open_vocabulary"] == {
        "taxonomy": None,
        "merged": {g: {"miou": None, "classes": None} for g in ("all", "seen", "unseen")},
        "soft": {g: {"miou": None} for g in ("all", "seen", "unseen")},
    }
    assert summary["intervals"]["open_vocabulary"]["merged"] == {"all": None, "seen": None, "unseen": None}
