"""`ovbench ablate`: rows trained and run, taken over, refused; the table's exit code."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner

from ovbench.cli.ablate import command
from ovbench.core.errors import IncompleteError, UserError
from ovbench.engine.ablate import (
    AblationRequest,
    Experiment,
    claim,
    plan_ablation,
    recorded,
    same_options,
    state,
)
from ovbench.engine.ablate_run import run_ablation
from ovbench.methods.registry import card

needs_models = pytest.mark.skipif(
    not (find_spec("torch") and find_spec("open_clip")), reason="needs ovbench[models]"
)
ROWS = ("no-ffn",)


def experiment(out: Path, **changes: object) -> Experiment:
    asked = {"seeds": 1, "steps": 1, "videos": 2, "frames": 2, "rows": ROWS, "out": out, **changes}
    return plan_ablation(AblationRequest("ov2vss", "world-27-9", **asked))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rows, one step, one seed, two frames of two videos."""
    out = tmp_path_factory.mktemp("ablation") / "out"
    assert run_ablation(experiment(out)) == {}
    return out


def arguments(out: Path, *more: str) -> list[str]:
    return ["--method", "ov2vss", "--protocol", "world-27-9", "--out", str(out), "--rows", "no-ffn", *more]


def test_jobs_go_seed_by_seed_with_the_reference_first() -> None:
    found = experiment(Path("x"), seeds=2)
    names = ["world-seed0", "world-t3-no-ffn-seed0", "world-seed1", "world-t3-no-ffn-seed1"]
    assert [job.name for job in found.jobs] == names
    every = plan_ablation(AblationRequest("ov2vss:sam-vit-b", "world-27-9"))
    assert len(every.jobs) == 3 * 13 and every.steps == 100000
    assert "--variant sam-vit-b --seeds 3" in every.command()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "maskclip"}, "has no ablations"),
        ({"method": "ov2vss:image"}, "unknown variant with ablations 'image'"),
        ({"method": "ov2vss:world", "variant": "small"}, "two variants are named"),
        ({"rows": ("no-fnn",)}, "unknown row 'no-fnn'"),
        ({"protocol": "world-27"}, "unknown protocol"),
        ({"seeds": 0}, "--seeds must be at least 1"),
        ({"metric": "unsen.miou"}, "unknown score 'unsen.miou'"),
        ({"metric": "frames_per_second"}, "unknown score"),
    ],
)
def test_mistakes_are_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        plan_ablation(AblationRequest(**{"method": "ov2vss", "protocol": "world-27-9", **changes}))  # type: ignore[arg-type]


def test_a_metric_that_does_not_exist_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = CliRunner().invoke(command, arguments(out, "--metric", "unseen.mio"))
    assert isinstance(found.exception, UserError) and "did you mean unseen.miou" in str(found.exception)
    assert not out.exists()
    for metric in ("seen.miou", "vc8.correct", "seen_bias"):
        assert experiment(out, metric=metric).request.metric == metric


@needs_models
def test_what_is_finished_is_taken_over(finished: Path, capfd: pytest.CaptureFixture[str]) -> None:
    times = {
        p: p.stat().st_mtime_ns for p in finished.rglob("*") if p.is_file() and not p.name.startswith(".")
    }
    assert run_ablation(experiment(finished)) == {}
    assert "2 of 2 rows x seeds are finished" in capfd.readouterr().err
    assert times == {p: p.stat().st_mtime_ns for p in times}
    key = json.loads((finished / "ablation.json").read_text())
    assert (key["steps"], key["videos"], key["method"], key["variant"]) == (1, 2, "ov2vss", "world")


@needs_models
def test_a_run_goes_on_and_its_training_is_not_repeated(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    found = experiment(out)
    job = found.jobs[1]
    weights = job.training / "weights.safetensors"
    before = weights.stat().st_mtime_ns
    (job.run / "summary.json").unlink()
    next((job.run / "records").iterdir()).unlink()
    assert state(job, found) == "run not finished: 1 of 2 videos"
    assert run_ablation(found) == {} and state(job, found) is None
    assert weights.stat().st_mtime_ns == before


@needs_models
def test_a_row_that_fails_does_not_stop_the_others(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    found = experiment(out)
    for job in found.jobs:
        shutil.rmtree(job.run)
    key = found.jobs[0].training / "training.json"
    key.write_text(key.read_text().replace('"seed": 0', '"seed": 5'))
    failed = run_ablation(found)
    assert list(failed) == ["world-seed0"] and "another seed" in failed["world-seed0"]
    assert state(found.jobs[1], found) is None


@needs_models
def test_folders_of_something_else_are_refused(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="another ablation .steps: 1 there, 2 now"):
        claim(experiment(finished, steps=2))
    with pytest.raises(UserError, match="no ablation lies here"):
        claim(experiment(tmp_path), write=False)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="other files, but no ablation"):
        claim(experiment(tmp_path))
    assert recorded(experiment(finished, steps=None, videos=None)).request.videos == 2


@needs_models
def test_table_only_needs_no_trainings_and_shows_what_is_missing(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished, out, ignore=shutil.ignore_patterns("train"))
    whole = CliRunner().invoke(command, arguments(out, "--table-only", "--seeds", "1"))
    assert whole.exit_code == 0, whole.output
    assert "attention alone" in whole.output and "MISSING" not in whole.output
    part = CliRunner().invoke(command, arguments(out, "--table-only", "--seeds", "2"))
    assert isinstance(part.exception, IncompleteError) and part.exception.exit_code == 3
    assert "MISSING full, no-ffn: seed 1: not trained." in part.output
    assert "--steps 1 --videos 2 --frames 2" in str(part.exception)


def test_options_that_came_later_do_not_matter() -> None:
    ours = card("ov2vss")
    now = {**ours.options, **ours.variants["world-t3-no-ffn"].options}
    old = {k: v for k, v in now.items() if k not in ("labels", "past_grad")}
    assert same_options({**old, "gone": 1}, ours, "world-t3-no-ffn")
    assert not same_options({**old, "width": 32}, ours, "world-t3-no-ffn")
    assert not same_options({k: v for k, v in old.items() if k != "ffn"}, ours, "world-t3-no-ffn")
