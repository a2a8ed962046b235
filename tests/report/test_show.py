"""`ovbench show`: from runs with label maps to pictures, each read back; and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from engine_runs import request
from PIL import Image
from run_cases import make_run

from ovbench.cli.main import _run
from ovbench.core.errors import IncompleteError, IntegrityError, UserError
from ovbench.datasets.open import open_dataset
from ovbench.engine.evaluate import run as run_method
from ovbench.methods.predictions import default_name
from ovbench.methods.stored import png
from ovbench.protocol.load import load_protocol
from ovbench.report.footage import OTHER, encode, need_label_maps, open_footage, palette, saves_label_maps
from ovbench.report.footage.motion import motion
from ovbench.report.footage.pick import RULES, pick, spread
from ovbench.report.footage.show import Asked, default_frames, parse_frames, show
from ovbench.report.footage.source import names_of_shown
from ovbench.report.model import Run
from ovbench.report.packed import pack_runs
from ovbench.store.masks import read_mask

WORLD = "world-27-9"
VIDEOS = 3
FRAMES = 10


def saved(out: Path, method: str, **changes: object) -> Path:
    run_method(
        request(method=method, out=out, videos=VIDEOS, frames=FRAMES, save_predictions=True, **changes)
    )
    return out


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("show") / "good", "oracle-grid")


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("show") / "bad", "random")


@pytest.fixture(scope="module")
def world():
    return load_protocol(WORLD)


@pytest.fixture(scope="module")
def footage(good, bad, world):
    return open_footage([Run.open(good), Run.open(bad)], world, None, "test-001")


def call(capsys, *arguments):
    code = _run(["show", *map(str, arguments)])
    caught = capsys.readouterr()
    return code, caught.out, caught.err


def test_footage_is_what_was_saved(footage, good, world):
    assert len(footage) == FRAMES and footage.names == ("oracle-grid", "random")
    names = footage.frame_names
    raw = read_mask(good / "predictions" / "test-001" / f"{names[3]}.png")
    expected = np.where(raw == 255, OTHER, world.class_of_vocabulary[np.minimum(raw, 35)])
    assert np.array_equal(footage.label_map(0, 3), expected)
    video = open_dataset(world, None).open("test-001")
    assert np.array_equal(footage.image(3), video.image(3))
    assert palette(world)[footage.truth(3)].shape == video.image(3).shape
    assert saves_label_maps(Run.open(good)) and not saves_label_maps(Run.open(good), "test-020")


def by_hand(run: Path, world) -> dict[str, float]:
    """Harmonic mean of the mean IoUs of the seen and the unseen classes present, from the masks themselves."""
    found = {}
    opened = Run.open(run)
    for video_id in opened.videos:
        footage = open_footage([opened], world, None, video_id)
        truth = np.stack([footage.truth(i) for i in range(FRAMES)])
        guess = np.stack([footage.label_map(0, i) for i in range(FRAMES)])
        means = []
        for group in ("seen", "unseen"):
            ious = [
                ((truth == c) & (guess == c)).sum() / ((truth == c) | (guess == c)).sum()
                for c in world.groups[group]
                if (truth == c).any()
            ]
            means.append(float(np.mean(ious)) if ious else np.nan)
        found[video_id] = 2 * means[0] * means[1] / sum(means) if sum(means) else 0.0
    return found


def test_best_and_worst_against_the_masks(bad, world):
    scores = by_hand(bad, world)
    dataset = open_dataset(world, None)
    best, worst = (pick(rule, [Run.open(bad)], world, dataset) for rule in ("best", "worst"))
    assert best.video_id == max(scores, key=lambda v: (scores[v], v != v))
    assert worst.video_id == min(scores, key=lambda v: scores[v])
    assert f"{100 * scores[best.video_id]:.1f}" in best.why


def test_flicker_against_the_masks(good, world):
    def extra(video_id):
        footage = open_footage([Run.open(good)], world, None, video_id)
        steps = []
        for i in range(1, FRAMES):
            both = (footage.truth(i) >= 0) & (footage.truth(i - 1) >= 0)
            guess = (footage.label_map(0, i) != footage.label_map(0, i - 1)) & both
            truth = (footage.truth(i) != footage.truth(i - 1)) & both
            steps.append((int(guess.sum()) - int(truth.sum()), i))
        return sum(s for s, _ in steps), max(steps, key=lambda s: (s[0], -s[1]))[1]

    found = {video: extra(video) for video in Run.open(good).videos}
    choice = pick("flicker", [Run.open(good)], world, open_dataset(world, None))
    assert choice.video_id == max(found, key=lambda v: found[v][0])
    assert choice.around == found[choice.video_id][1]


def test_disagreement(good, bad, world, tmp_path):
    dataset = open_dataset(world, None)
    other = tmp_path / "other"
    shutil.copytree(good, other)
    folder = other / "predictions" / "test-002"
    name = sorted(folder.iterdir())[0].name
    Image.fromarray(np.full((96, 160), 7, np.uint8)).save(folder / name)
    choice = pick("disagreement", [Run.open(good), Run.open(other)], world, dataset)
    assert (choice.video_id, choice.around) == ("test-002", 0)
    with pytest.raises(UserError, match="two runs or more"):
        pick("disagreement", [Run.open(good)], world, dataset)


def test_which_frames(footage):
    assert parse_frames("0, 5,8-10") == [0, 5, 8, 9, 10]
    for wrong in ("", "a", "5-3", "-1", "1,,2"):
        with pytest.raises(UserError, match="is no frame"):
            parse_frames(wrong)
    assert spread(20, 4) == [0, 6, 13, 19] and spread(3, 8) == [0, 1, 2] and spread(1, 4) == [0]
    assert default_frames(footage) == [0, 3, 6, 9]
    assert default_frames(footage, 5) == [3, 4, 5, 6]
    assert default_frames(footage, 9) == [6, 7, 8, 9] and default_frames(footage, 0) == [0, 1, 2, 3]


@pytest.mark.parametrize("ending", ["png", "pdf", "svg", "gif", "webp"])
def test_the_same_runs_give_the_same_bytes(ending, good, bad, tmp_path, capsys):
    files = []
    for number in range(2):
        out = tmp_path / "new" / f"{number}.{ending}"
        code, printed, err = call(capsys, good, bad, "--video", "test-001", "--frames", "0,4", "--out", out)
        assert (code, printed) == (0, f"{out}\n"), err
        files.append(out.read_bytes())
    assert files[0] == files[1] and len(files[0]) > 5000
    assert "test-001: as asked; 2 frames" in err


@pytest.mark.parametrize("ending", ["gif", "webp"])
def test_moving_pictures_hold_every_frame_in_exact_colours(ending, footage, world, tmp_path):
    moving = motion(footage, range(4))
    encode.write_moving(moving, tmp_path / f"m.{ending}", 4)
    made = list(moving)
    with Image.open(tmp_path / f"m.{ending}") as picture:
        assert picture.n_frames == 4 and picture.size == made[0].shape[1::-1]
        for number, frame in enumerate(made):
            picture.seek(number)
            shown = np.asarray(picture.convert("RGB"))
            assert picture.info["duration"] == 250
            truth = moving.sheet.boxes[1][0]
            middle = [
                round((a + b / 2) * 125) for a, b in ((truth.top, truth.height), (truth.left, truth.width))
            ]
            part = np.s_[middle[0] - 60 : middle[0] + 60, middle[1] - 60 : middle[1] + 60]
            assert np.array_equal(shown[part], frame[part])
    colours = {tuple(c) for c in palette(world)[np.unique(footage.truth(0))].tolist()}
    assert colours <= {tuple(c) for c in moving.colours.tolist()}


def test_mp4(footage, tmp_path, monkeypatch):
    monkeypatch.setattr(encode.shutil, "which", lambda name: None)
    monkeypatch.setitem(__import__("sys").modules, "imageio_ffmpeg", None)
    with pytest.raises(UserError, match="ffmpeg, which is not on PATH"):
        encode.encoder()
    monkeypatch.undo()
    try:
        program = encode.encoder()
    except UserError:
        pytest.skip("no ffmpeg here")
    moving = motion(footage, range(3))
    encode.write_moving(moving, tmp_path / "new" / "m.mp4", 5)
    size = "x".join(map(str, next(iter(moving)).shape[1::-1]))
    read = encode.subprocess.run(
        [program, "-i", tmp_path / "new" / "m.mp4", "-f", "null", "-"], capture_output=True
    )
    assert read.returncode == 0 and size.encode() in read.stderr and b"yuv420p" in read.stderr
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["m.mp4"]


def test_an_encoder_that_fails_leaves_nothing(footage, tmp_path, monkeypatch):
    broken = tmp_path / "ffmpeg"
    broken.write_text("#!/bin/sh\necho 'Unknown encoder libx264' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(encode, "encoder", lambda: str(broken))
    with pytest.raises(UserError, match="Unknown encoder libx264"):
        encode.write_moving(motion(footage, [0, 1]), tmp_path / "out" / "m.mp4", 5)
    assert not list((tmp_path / "out").iterdir())


def test_label_maps_without_a_run(good, tmp_path, capsys):
    maps = tmp_path / "maps"
    shutil.copytree(good / "predictions", maps)
    out = tmp_path / "p.png"
    code, _, err = call(capsys, maps, good, "--protocol", WORLD, "--video", "test-000", "--out", out)
    assert code == 0 and out.is_file(), err
    code, _, err = call(capsys, maps, "--protocol", WORLD, "--pick", "best", "--out", out)
    assert code == 2 and "belong to none" in err and "ovbench score" in err
    code, _, err = call(capsys, maps, "--out", out)
    assert code == 2


def test_refusals(good, bad, tmp_path, capsys):
    out = tmp_path / "p.png"
    cases = [
        ((good, "--video", "test-01"), 2, "did you mean"),
        ((good, "--video", "test-001", "--pick", "best"), 2, "give one of them"),
        ((good, "--pick", "bets"), 2, "best"),
        ((good, "--frames", "3,99"), 2, "no frame 99"),
        ((tmp_path / "nowhere",), 2, "no such file"),
    ]
    for arguments, code, said in cases:
        found, printed, err = call(capsys, *arguments, "--out", out)
        assert (found, printed) == (code, "") and said in err, arguments
    found, _, err = call(capsys, good, "--out", tmp_path / "p.bmp")
    assert found == 2 and ".webp" in err
    assert not out.exists() and not list(tmp_path.iterdir())


def test_a_run_without_label_maps_says_the_command(tmp_path, capsys):
    run = tmp_path / "run"
    assert (
        _run(
            [
                "run",
                "--method",
                "constant",
                "--protocol",
                WORLD,
                "--videos",
                "1",
                "--out",
                str(run),
                "--fresh",
            ]
        )
        == 0
    )
    capsys.readouterr()
    manifest = json.loads((run / "manifest.json").read_text())
    code, _, err = call(capsys, run, "--out", tmp_path / "p.png")
    assert code == 2 and "saved no label maps" in err
    assert (
        "--save-predictions" in err
        and "--method constant" in err
        and "--fresh" not in err
        and str(run) in err
    )
    manifest["sessions"] = [{"command": ["ovbench", "demo"]}]
    (run / "manifest.json").write_text(json.dumps(manifest))
    _, _, err = call(capsys, run, "--out", tmp_path / "p.png")
    assert "ovbench run --method constant --protocol world-27-9 --save-predictions" in err


def test_the_command_repeats_protocol_and_data_root(tmp_path):
    run = make_run(tmp_path / "run", 0.5)
    for words in (
        ["ovbench", "demo"],
        ["ovbench", "run", "--protocol=x.toml", "--data-root", "y", "--fresh"],
    ):
        manifest = json.loads((run / "manifest.json").read_text())
        manifest["sessions"] = [{"command": words}]
        (run / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(UserError) as error:
            need_label_maps(Run.open(run), "./mine.toml", Path("my data"))
        hint = str(error.value.hint)
        assert hint.endswith("--protocol ./mine.toml --data-root 'my data' --save-predictions")
        assert hint.count("--protocol") == hint.count("--data-root") == 1 and "--fresh" not in hint


def test_untrained_runs_say_so(good):
    run = Run.open(good)
    fake = Run(
        run.path, {**run.manifest, "method": {**run.method, "untrained": True}}, run.summary, run.timing
    )
    assert names_of_shown([fake, run])[0].endswith("(untrained)")
    assert "untrained" not in names_of_shown([fake, run])[1]


def test_scored_label_maps_can_be_looked_at(good, world, tmp_path, capsys):
    """`score` keeps copies with --save-predictions: same summary, same key, and all that looks at runs works."""
    maps, plain, kept = tmp_path / "maps", tmp_path / "plain", tmp_path / "kept"
    shutil.copytree(good / "predictions", maps)
    argv = ["score", "--predictions", maps, "--protocol", WORLD, "--videos", VIDEOS, "--frames", FRAMES]
    argv += ["--jobs", 1, "--out"]
    assert _run([*map(str, argv), str(plain)]) == 0
    code, _, err = call(capsys, plain, "--out", tmp_path / "p.png")
    assert code == 2 and "kept no copies" in err and "ovbench score" in err and "--save-predictions" in err
    assert _run([*map(str, argv), str(kept), "--save-predictions"]) == 0
    assert (plain / "summary.json").read_bytes() == (kept / "summary.json").read_bytes()
    first, second = (json.loads((p / "manifest.json").read_text()) for p in (plain, kept))
    assert first["run_key"] == second["run_key"]
    code, _, err = call(capsys, kept, "--out", tmp_path / "p.png")
    assert code == 0, err
    shutil.rmtree(maps)  # they are copies
    open_footage([Run.open(kept)], world, None, "test-001").check()
    assert default_name(kept / "predictions") == "maps"
    pack_runs([kept], tmp_path / "kept.zip", predictions=True)


def test_missing_and_damaged_label_maps(good, world, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(good, copy)
    shutil.rmtree(copy / "predictions" / "test-000")
    with pytest.raises(IncompleteError, match="no label maps of video 'test-000'"):
        show(Asked((copy,), video="test-000", out=tmp_path / "p.png"))
    folder = copy / "predictions" / "test-001"
    first, second = sorted(folder.iterdir())[:2]
    first.write_bytes(b"no PNG")
    Image.fromarray(np.full((96, 160), 200, np.uint8)).save(second)
    footage = open_footage([Run.open(copy)], world, None, "test-001")
    with pytest.raises(UserError, match="cannot be used"):
        footage.label_map(0, 0)
    with pytest.raises(UserError, match="label 200 is outside the vocabulary"):
        footage.label_map(0, 1)


def test_label_maps_that_were_changed_after_scoring(good, bad, world, tmp_path):
    for run in (good, bad):
        open_footage([Run.open(run)], world, None, "test-002").check()
    copy = tmp_path / "copy"
    shutil.copytree(good, copy)
    path = sorted((copy / "predictions" / "test-002").iterdir())[4]
    changed = read_mask(path).copy()
    changed[50, 50] = (changed[50, 50] + 1) % 36
    Image.fromarray(changed).save(path)
    with pytest.raises(IntegrityError, match="not those that were scored"):
        show(Asked((copy,), video="test-002", out=tmp_path / "p.png"))
    assert not (tmp_path / "p.png").exists()
    path.unlink()  # the check is not switched off by that
    with pytest.raises(
        IncompleteError, match=f"1 of 10 label maps of video 'test-002' are missing: {path.stem}"
    ):
        show(Asked((copy,), video="test-002", out=tmp_path / "p.png"))
    record = copy / "records" / "test-002.json"
    record.unlink()
    with pytest.raises(IncompleteError, match="no record of video 'test-002'"):
        open_footage([Run.open(copy)], world, None, "test-002")


def test_frames_that_are_not_shown_are_checked_too(good, world, tmp_path):
    short = tmp_path / "short"
    run_method(request(method="majority", out=short, videos=VIDEOS, frames=4, save_predictions=True))
    open_footage([Run.open(good), Run.open(short)], world, None, "test-000").check()
    copy = tmp_path / "copy"
    shutil.copytree(good, copy)
    path = sorted((copy / "predictions" / "test-000").iterdir())[8]
    Image.fromarray(np.full((96, 160), 7, np.uint8)).save(path)
    with pytest.raises(IntegrityError, match="not those that were scored"):
        open_footage([Run.open(copy), Run.open(short)], world, None, "test-000").check()


def test_listing_a_video_once_is_enough(good, world, monkeypatch):
    listed = []
    original = png.frames_on_disk
    monkeypatch.setattr(png, "frames_on_disk", lambda folder: listed.append(folder) or original(folder))
    footage = open_footage([Run.open(good)], world, None, "test-001")
    footage.check()
    assert all(footage.label_map(0, i) is not None for i in range(FRAMES))
    assert len(listed) == 1


def test_endings_in_capitals(good, tmp_path):
    for ending in (".PNG", ".Gif"):
        show(Asked((good,), video="test-000", frames="0,1", out=tmp_path / f"a{ending}"))
        assert Image.open(tmp_path / f"a{ending}").format == ending[1:].upper()


def test_runs_of_two_protocols(good, tmp_path):
    hard = tmp_path / "hard"
    run_method(
        request(
            protocol=f"{WORLD}-hard", method="constant", out=hard, videos=1, frames=2, save_predictions=True
        )
    )
    with pytest.raises(UserError, match="this run is of protocol 'world-27-9-hard'"):
        show(Asked((good, hard), video="test-000", out=tmp_path / "p.png"))


def test_every_rule_draws(good, bad, tmp_path, capsys):
    for rule in RULES:
        code, _, err = call(
            capsys,
            good,
            bad,
            "--pick",
            rule,
            "--no-errors",
            "--frames",
            "0",
            "--out",
            tmp_path / f"{rule}.png",
        )
        assert code == 0 and "of 3 videos" in err, err
