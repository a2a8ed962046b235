"""`ovbench sweep` and the figure made of it: protocols of one's own, nothing overwritten, nothing drawn unchecked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from figure_cases import outside, overlaps, texts

from ovbench.cli.main import main
from ovbench.core.errors import IntegrityError, UserError
from ovbench.core.paths import room
from ovbench.engine import sweep as sweeps
from ovbench.protocol.load import load_protocol
from ovbench.report.figures import Options, draw
from ovbench.report.find import open_runs

NAMES = ("unheard-of thing", "second thing", 'third \\ "thing"', "Ünï")


def sweep(out: Path, *more: str, protocol: str = "world-27-9") -> int:
    argv = [
        "sweep",
        "--method",
        "random",
        "--protocol",
        protocol,
        "--videos",
        "1",
        "--frames",
        "9",
        "--jobs",
        "1",
    ]
    with pytest.raises(SystemExit) as end:
        main([*argv, "--out", str(out), *more])
    return int(end.value.code)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs with 36, 38 and 216 names."""
    out = tmp_path_factory.mktemp("sweep") / "s"
    assert sweep(out, "--add", "0,2,180") == 0
    return out


def own_protocol(folder: Path) -> Path:
    """The world's default protocol as a user's own file, with a class table, videos and templates beside it."""
    (folder / "tables").mkdir(parents=True)
    shutil.copy(room("protocols") / "classes" / "world-attribute.csv", folder / "tables" / "mine.csv")
    (folder / "videos.txt").write_text("test-003\ntest-007\n")
    (folder / "mine.txt").write_text("a sight of {}\n")
    text = (room("protocols") / "world-27-9.toml").read_text()
    for old, new in (
        ('id = "world-27-9"', 'id = "my-own"'),
        ("classes/world-attribute.csv", "tables/mine.csv"),
        ('templates = "world"', 'templates = "mine.txt"'),
        ('split = "test"', 'split = "test"\nvideos = "videos.txt"'),
    ):
        assert old in text
        text = text.replace(old, new, 1)
    path = folder / "my-own.toml"
    path.write_text(text)
    return path


def test_more_and_more_names(made: Path) -> None:
    runs = open_runs([made])
    assert sorted(r.manifest["vocabulary"]["names"] for r in runs) == [36, 38, 216]
    small, large = (load_protocol(str(made / "protocols" / f"world-27-9-plus-{n}.toml")) for n in (2, 180))
    assert large.extra_names[:2] == small.extra_names
    assert large.classes == load_protocol("world-27-9").classes
    figure = draw("vocabulary", runs)
    assert outside(figure) == [] and overlaps(figure) == []
    (line, *_) = figure.axes[0].lines
    assert line.get_xdata().tolist() == [36, 38, 216]
    assert line.get_ydata()[0] > line.get_ydata()[-1]  # chance hits become rarer
    assert "PARTIAL:" in " ".join(t.get_text() for t, _ in texts(figure))
    with pytest.raises(UserError, match="no line to draw"):
        draw("vocabulary", runs[:1])


def test_a_protocol_of_ones_own_with_files_beside_it(tmp_path: Path) -> None:
    own = own_protocol(tmp_path / "mine")
    out = tmp_path / "s"
    assert sweep(out, "--add", "0,2", protocol=str(own)) == 0
    shutil.rmtree(tmp_path / "mine")  # what was made stands by itself
    base, more = (load_protocol(str(out / "protocols" / f"my-own{end}.toml")) for end in ("", "-plus-2"))
    assert base.templates == more.templates == ("a sight of {}",)
    assert base.dataset == more.dataset and base.dataset.videos == ("test-003", "test-007")
    assert (len(more.vocabulary), len(base.vocabulary), len(more.extra_names)) == (38, 36, 2)
    assert len(draw("vocabulary", open_runs([out])).axes) == 1


def test_names_with_quotes_come_back(tmp_path: Path) -> None:
    protocol = load_protocol("world-27-9")
    paths = sweeps.extended("world-27-9", protocol, NAMES, (0, 4), tmp_path)
    assert paths[0] == "world-27-9" and load_protocol(paths[1]).extra_names == NAMES


def test_all_sizes_and_names_are_checked_before_the_first_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = tmp_path / "names.txt"
    for text, says in (
        ("a thing\n", "5 further names were asked for, and there are 1"),
        ("a\nb\nc\nd\nred plain square\n", "is a class of the class table"),
        ("a\nb\nc\nd\ne\x7f\n", "line 5"),
    ):
        names.write_text(text)
        assert sweep(tmp_path / "s", "--add", "0,1,5", "--names", str(names)) == 2
        assert says in capsys.readouterr().err
        assert not (tmp_path / "s").exists()


def test_other_names_replace_nothing(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "s"
    shutil.copytree(made, out)
    before = {p: p.read_bytes() for p in (out / "protocols").iterdir()}
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    assert sweep(out, "--add", "0,1,2", "--names", str(tmp_path / "names.txt")) == 2
    assert "with other names" in capsys.readouterr().err
    assert {p: p.read_bytes() for p in (out / "protocols").iterdir()} == before
    assert sweep(out, "--add", "0,2") == 0  # the same again is no conflict


def test_an_edited_summary_or_a_lost_protocol_is_not_drawn(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "s"
    shutil.copytree(made, out)
    (run,) = (p for p in out.rglob("plus-2/summary.json"))
    whole = run.read_text()
    summary = json.loads(whole)
    summary["scores"]["all"]["miou"] += 5
    run.write_text(json.dumps(summary))
    with pytest.raises(IntegrityError, match="the records give"):
        draw("vocabulary", open_runs([out]))
    run.write_text(whole)
    manifest = json.loads(run.with_name("manifest.json").read_text())
    del manifest["vocabulary"]  # nothing is taken from there
    run.with_name("manifest.json").write_text(json.dumps(manifest))
    assert draw("vocabulary", open_runs([out])).axes[0].lines[0].get_xdata().tolist() == [36, 38, 216]
    (out / "protocols").rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="is not here"):
        draw("vocabulary", open_runs([out]))
    assert draw("vocabulary", open_runs([out]), Options(protocol=str(tmp_path / "elsewhere"))).axes
