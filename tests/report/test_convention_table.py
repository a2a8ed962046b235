"""`table --convention`: every number computed anew from the records, conventions side by side and never mixed."""

from __future__ import annotations

import csv
import io
import json

import pytest
from explain_cases import HARMONIC, SEEN, UNSEEN, tiny_protocol, tiny_run
from run_cases import make_run

from ovbench.core.errors import UserError
from ovbench.metrics.conventions import CONVENTIONS
from ovbench.report.table import render

SHRUNK = (100 * 10 / 13 + 100 * 7 / 9) / 2


def harmonic(seen, unseen):
    return 2 * seen * unseen / (seen + unseen)


BY_HAND = {  # convention -> (harmonic mIoU, classes that enter)
    "gt-present": (HARMONIC, 3),
    "union-present": (harmonic(SEEN, 31.25), 4),
    "all-classes": (harmonic(SEEN, 31.25), 4),
    "gt-present+abstain-shrinks": (harmonic(SHRUNK, UNSEEN), 3),
    "gt-present+base-ignored": (harmonic(SHRUNK, UNSEEN), 3),
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    protocol = tiny_protocol(folder)
    runs = [tiny_run(folder / "run", protocol), tiny_run(folder / "raw", protocol, "random", "control")]
    return runs, str(protocol)


def table_of(tiny, **options):
    return json.loads(render(tiny[0], tiny[1], "json", **options))["tables"][0]


@pytest.mark.parametrize("name", BY_HAND)
def test_side_by_side_is_as_by_hand(tiny, name):
    value, classes = BY_HAND[name]
    table = table_of(tiny, convention="all")
    assert table["convention"] == "all"
    for row in table["rows"]:
        assert row["cells"][f"harmonic.miou@{name}"]["value"] == pytest.approx(value, abs=1e-6)
        assert row["cells"][f"harmonic.classes@{name}"]["value"] == classes


@pytest.mark.parametrize("name", BY_HAND)
def test_one_convention_is_as_by_hand(tiny, name):
    value, _ = BY_HAND[name]
    table = table_of(tiny, convention=name)
    assert table["convention"] == name
    cell = table["rows"][0]["cells"]["harmonic.miou"]
    assert cell["value"] == pytest.approx(value, abs=1e-6)
    assert cell["low"] <= cell["value"] <= cell["high"]
    assert any(f"convention {name};" in note for note in table["notes"])
    if name == "union-present":
        assert any("all 4, seen 2, unseen 2" in n for n in table["notes"])


def test_own_convention_by_name_changes_no_number(tiny):
    plain, named = table_of(tiny), table_of(tiny, convention="gt-present")
    for a, b in zip(plain["rows"], named["rows"], strict=True):
        for key in ("harmonic.miou", "unseen.miou", "seen_bias", "vc2.correct"):
            assert a["cells"][key]["value"] == pytest.approx(b["cells"][key]["value"], abs=1e-6)
            assert a["cells"][key].get("low") == pytest.approx(b["cells"][key].get("low"), abs=1e-6) or (
                key == "seen_bias"
            )


def test_every_convention_has_a_column_and_words(tiny):
    runs, protocol = tiny
    for form in ("text", "md", "latex"):
        text = render(runs, protocol, form, convention="all").replace("{", "").replace("}", "")
        flat = " ".join(text.split())
        assert "columns must not be compared" in flat and "union-present: Pixels are pooled" in flat
    rows = list(csv.DictReader(io.StringIO(render(runs, protocol, "csv", convention="all"))))
    for name in CONVENTIONS:
        assert f"harmonic.miou@{name}" in rows[0] and f"harmonic.classes@{name}" in rows[0]
    assert float(rows[0]["harmonic.miou@union-present"]) == pytest.approx(harmonic(SEEN, 31.25), abs=1e-3)
    assert {r["convention"] for r in rows} == {"all"}


def test_side_by_side_names_the_headline_and_explains_only_what_it_shows(tiny):
    table = table_of(tiny, convention="all")
    assert table["title"] == "tiny: harmonic mIoU under each convention"
    assert all(c["title"].endswith(("harmonic mIoU", "n")) for c in table["columns"])
    notes = " ".join(table["notes"])
    assert "[low, high]" not in notes and "Speed" not in notes
    with pytest.raises(UserError, match="more than one convention") as caught:
        render(tiny[0], tiny[1], convention="gt-present,union-present")
    assert "one id, or 'all'" in str(caught.value)


def test_ranks_follow_the_protocols_own_convention(tiny):
    rows = {r["name"]: r["rank"] for r in table_of(tiny, convention="all")["rows"]}
    assert rows == {"maskclip": 1, "random": None}


def test_unknown_conventions_and_protocols_that_are_not_here(tiny):
    with pytest.raises(UserError, match="unknown convention 'gt-presnt'") as caught:
        render(tiny[0], tiny[1], convention="gt-presnt")
    assert "did you mean gt-present" in str(caught.value)
    with pytest.raises(UserError):
        render(tiny[0], convention="all")


def test_label_free_scores_stand_beside_a_constant(tiny):
    table = table_of(tiny, columns="all")
    keys = [c["key"] for c in table["columns"]]
    assert {"change_rate", "excess_change", "all.pacc"} <= set(keys)
    last = table["rows"][-1]
    assert last["name"] == "constant (from the counts)" and last["rank"] is None
    assert last["marks"] == ["reference"]
    assert last["cells"]["change_rate"]["value"] == 0 and last["cells"]["vc2.clean"]["value"] == 100
    assert "all.miou" not in last["cells"]
    assert any("best for a constant prediction" in n for n in table["notes"])
    assert "constant (from the counts)" not in {r["name"] for r in table_of(tiny)["rows"]}


def test_a_constant_run_is_its_own_reference(tmp_path):
    runs = [make_run(tmp_path / "a", 0.5), make_run(tmp_path / "c", 0.1, method="constant", kind="control")]
    (table,) = json.loads(render(runs, None, "json", columns="all"))["tables"]
    assert sorted(r["name"] for r in table["rows"]) == ["constant", "maskclip"]


def test_merged_scores_carry_their_name_and_version(tmp_path):
    (table,) = json.loads(render([make_run(tmp_path / "a", 0.5)], None, "json", columns="all"))["tables"]
    titles = {c["key"]: c["title"] for c in table["columns"]}
    assert titles["unseen.merged_miou"] == "unseen merged mIoU (taxonomy v1)"
    assert any("Taxonomy camvid v1" in n for n in table["notes"])
    assert "unseen.merged_miou" not in {
        c["key"] for c in json.loads(render([tmp_path / "a"], None, "json"))["tables"][0]["columns"]
    }


def test_two_versions_of_a_taxonomy_share_no_column(tmp_path):
    runs = [make_run(tmp_path / "a", 0.5), make_run(tmp_path / "b", 0.6, variant="b")]
    summary = json.loads((runs[1] / "summary.json").read_text())
    summary["open_vocabulary"]["taxonomy"]["hash"] = "f" * 64
    (runs[1] / "summary.json").write_text(json.dumps(summary))
    (table,) = json.loads(render(runs, None, "json", columns="all"))["tables"]
    assert not any("merged" in c["key"] for c in table["columns"])
    assert any("different versions of the taxonomy" in n for n in table["notes"])


def test_seeds_under_all_conventions(tmp_path):
    runs = [
        make_run(tmp_path / f"s{i}", share, variant="world", weights=f"seed{i}", seed=i)
        for i, share in enumerate((0.5, 0.6))
    ]
    (table,) = json.loads(render(runs, None, "json", mean_seeds=True, convention="all"))["tables"]
    (row,) = table["rows"]
    assert row["seeds"] == 2 and row["cells"]["harmonic.miou@union-present"]["sd"] > 0
    (table,) = json.loads(render(runs, None, "json", mean_seeds=True, convention="union-present"))["tables"]
    assert table["rows"][0]["cells"]["harmonic.miou"]["sd"] > 0


def test_intervals_of_the_merged_score_are_shown(tmp_path):
    (table,) = json.loads(render([make_run(tmp_path / "a", 0.5)], None, "json", columns="all"))["tables"]
    cell = table["rows"][0]["cells"]["all.merged_miou"]
    assert cell["low"] < cell["value"] < cell["high"]
