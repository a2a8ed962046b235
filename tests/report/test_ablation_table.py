"""The table of an ablation: published beside measured, differences over videos and seeds, what is missing."""

from __future__ import annotations

import csv
import io
import json
import statistics
from dataclasses import replace
from pathlib import Path

import pytest
from run_cases import PROTOCOL, make_run

from ovbench.core.errors import IntegrityError, UserError
from ovbench.engine.ablate import AblationRequest, Experiment, plan_ablation
from ovbench.report.ablation import build
from ovbench.report.ablation_formats import FORMATS, write
from ovbench.report.ablation_model import Gap, Line, read_published
from ovbench.stats.seeds import over_seeds

RIGHT = {"full": 0.7, "baseline": 0.4, "no-ffn": 0.7, "random-frame": 0.4, "fusion": 0.55}


def experiment(out: Path, rows: tuple[str, ...] = tuple(RIGHT), seeds: int = 3) -> Experiment:
    return plan_ablation(AblationRequest("ov2vss:small", PROTOCOL, seeds=seeds, rows=rows, out=out, steps=5))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seeds of five rows; only one of the random frame."""
    out = tmp_path_factory.mktemp("ablation")
    found = experiment(out)
    for number, job in enumerate(found.jobs):
        if job.row == "random-frame" and job.seed:
            continue
        options = dict(found.card.variants[job.variant].options)
        right = RIGHT[job.row] + 0.01 * job.seed
        weights = f"{job.name}.safetensors"
        make_run(
            job.run, right, method="ov2vss", variant=job.variant, kind="video", options=options,
            weights=weights, seed=number,
        )  # fmt: skip
    return out


def of(lines: tuple[Line, ...], row: str) -> Line:
    return next(line for line in lines if line.row == row)


def test_published_beside_measured(folder: Path) -> None:
    table = build(experiment(folder))
    base, full = of(table.lines, "baseline without text"), of(table.lines, "+ video-text encoding")
    assert (base.published, base.published_gap, full.published_gap) == (14.98, pytest.approx(-3.01), None)
    assert base.seeds == 3 and base.gap is not None and base.gap.verdict == "worse"
    cell = base.cells["unseen.miou"]
    assert cell.value == pytest.approx(statistics.fmean(base.values))
    assert cell.sd == pytest.approx(statistics.stdev(base.values))
    assert cell.low is not None and cell.low < cell.value < (cell.high or 0)  # type: ignore[operator]
    assert base.gap.effect == pytest.approx(cell.value - full.cells["unseen.miou"].value)  # type: ignore[operator]
    assert base.gap.p is not None and base.gap.p_adjusted is not None and base.gap.p <= base.gap.p_adjusted
    same = of(table.lines, "attention alone").gap
    assert same is not None and same.verdict.startswith("open")
    step = full.step
    assert step is not None and full.published_step == pytest.approx(1.67)
    assert step.effect == pytest.approx(-of(table.lines, "+ spatial-temporal fusion").gap.effect)  # type: ignore[union-attr]


def test_one_configuration_stands_in_every_group(folder: Path) -> None:
    table = build(experiment(folder))
    full = [line for line in table.lines if line.variant == "full"]
    assert {line.group for line in full} == {
        "components", "fusion", "frames and labels", "video-text encoding", "loss weights"
    }  # fmt: skip
    assert all(line.cells == full[0].cells and line.gap is None for line in full)


def test_what_is_missing_is_seen(folder: Path) -> None:
    table = build(experiment(folder), failed={"small-t3-random-frame-seed2": "no memory: sorry"})
    line = of(table.lines, "+ random frame")
    assert table.missing == 2 and line.seeds == 1
    assert line.missing == ("seed 1: not trained", "seed 2: no memory: sorry")
    assert line.gap is not None and line.gap.seeds == 1 and line.gap.videos == (line.gap.low, line.gap.high)
    text = write(table, "text")
    assert "(1 of 3)" in text
    assert "MISSING random-frame: seed 1: not trained; seed 2: no memory: sorry." in text
    assert "ovbench ablate --method ov2vss --protocol camvid-8-3-gzs --variant small --seeds 3" in text
    whole = build(replace(experiment(folder, ()), request=replace(experiment(folder, ()).request, rows=())))
    assert whole.missing == 2 + 3 * 8
    assert of(whole.lines, "element-wise addition").cells == {} and "MISSING" in write(whole, "md")
    assert of(whole.lines, "no-carry").group == "not in the paper"


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_holds_the_numbers(folder: Path, form: str) -> None:
    table = build(experiment(folder))
    text = write(table, form)
    value = of(table.lines, "baseline without text").cells["unseen.miou"].value
    assert value is not None
    if form == "csv":
        rows = list(csv.DictReader(io.StringIO(text)))
        assert len(rows) == len(table.lines) and len(set(rows[0])) == len(text.splitlines()[0].split(","))
        assert float(rows[0]["unseen.miou.value"]) == pytest.approx(value, rel=1e-5)
        assert rows[0]["gap.verdict"] == "worse"
    elif form == "json":
        assert json.loads(text)["lines"][0]["gap"]["verdict"] == "worse"
    else:
        assert f"{value:.1f}" in text and "14.98" in text and "the text gives" not in text


def test_the_metric_can_be_chosen(folder: Path) -> None:
    assert build(experiment(folder), "seen.miou").columns[0] == "seen.miou"
    with pytest.raises(UserError, match="unknown score 'sen.miou'"):
        build(experiment(folder), "sen.miou")


def test_a_run_with_other_options_is_no_row(folder: Path, tmp_path: Path) -> None:
    found = experiment(tmp_path, ("no-ffn",), 1)
    job = found.jobs[1]
    make_run(job.run, 0.5, method="ov2vss", variant=job.variant, options={"ffn": True})
    table = build(found)
    assert of(table.lines, "attention alone").missing == (
        "seed 0: run with other options than the card has today",
    )


def test_seeds_widen_an_interval() -> None:
    low, high = over_seeds((9.0, 12.0), (9.0, 10.0, 11.0)) or (0.0, 0.0)
    half = 4.302653 / 3**0.5  # t with two degrees of freedom, deviation 1, three seeds
    assert 10.0 - low == pytest.approx((1 + half**2) ** 0.5) and high - 10.0 == pytest.approx(
        (4 + half**2) ** 0.5
    )
    assert over_seeds((9.0, 12.0), (10.0,)) is None and over_seeds((None, None), (1.0, 2.0)) is None
    assert over_seeds((9.0, 12.0), (10.5, 10.5)) == (9.0, 12.0)


@pytest.mark.parametrize(
    ("videos", "both", "verdict"),
    [((1, 3), (0.5, 3), "better"), ((1, 3), (-1, 4), "open (seeds)"), ((-1, 3), (-2, 4), "open")],
)
def test_verdicts(videos: tuple[float, float], both: tuple[float, float], verdict: str) -> None:
    assert Gap(2.0, *both, videos, 0.01, 3).verdict == verdict
    turned = Gap(-2.0, -both[1], -both[0], (-videos[1], -videos[0]), 0.01, 3).verdict
    assert turned == verdict.replace("better", "worse")


def test_published_numbers_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("row,group,description,mIoU,variant,remark\na,b,c,many,full,\n")
    with pytest.raises(IntegrityError, match="not a number"):
        read_published(path)
    path.write_text("row,group\n")
    with pytest.raises(IntegrityError, match="description, mIoU, variant, remark"):
        read_published(path)
