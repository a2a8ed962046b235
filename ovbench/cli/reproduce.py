"""`ovbench reproduce`: a published table beside what was measured here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .formats import format_option
from .leaderboard import Making, leaderboard

if TYPE_CHECKING:
    from ovbench.engine.reproduce import Means

_ROW = "METHOD=FILE"


@click.command()
@click.argument("table", metavar="TABLE")
@click.argument("run_dirs", nargs=-1, metavar="[RUN_DIR]...", type=click.Path(path_type=Path))
@click.option(
    "--world", is_flag=True, help="On the embedded world: no data; from the records that come with ovbench."
)
@click.option("--run", "running", is_flag=True, help="Run what can be run, instead of collecting runs only.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder of the runs; default: runs/reproduce/TABLE[-world].",
)
@click.option(
    "--data-root", type=click.Path(path_type=Path), help="Folder of the data set (the world needs none)."
)
@click.option("--weights", multiple=True, metavar=_ROW, help="Weights of a row's method; may be repeated.")
@click.option(
    "--seeds",
    metavar="N|S,S,...",
    help="table3: how many trainings per row (default 3). world: which seeds, as 0,2 (default: all).",
)
@click.option("--rows", metavar="R,R,...", help="world: only these rows of results/world/board.toml.")
@click.option("--videos", type=click.IntRange(min=1), help="world --run: only the first N videos (partial).")
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    help="world --run: steps of each training; default: the method's own.",
)
@click.option(
    "--update",
    "texts",
    multiple=True,
    type=click.Path(path_type=Path),
    help="world: put the table between the marks <!-- world-table --> and <!-- /world-table --> of a text file.",
)
@click.option(
    "--profile",
    metavar="NAME",
    help="table1, table2: of methods with several networks under one name (paper, release), only this one.",
)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--jobs", type=click.IntRange(min=1), help="Worker processes; default: the usable cores.")
@click.option(
    "--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Threads of each worker."
)
@format_option("text", "md", "csv", "latex", "html", "json")
def command(
    table: str,
    run_dirs: tuple[Path, ...],
    world: bool,
    running: bool,
    out: Path | None,
    data_root: Path | None,
    weights: tuple[str, ...],
    seeds: str | None,
    rows: str | None,
    videos: int | None,
    steps: int | None,
    texts: tuple[Path, ...],
    profile: str | None,
    device: str,
    jobs: int | None,
    threads: int,
    form: str,
) -> None:
    """Print a published table (table1, table2, table3) beside what was measured: difference and interval.

    Collects runs from RUN_DIRs (default: all below ./runs; with --world the records that come with ovbench, and for
    rows without any those below ./runs). With --run it runs what can be run; stopped at any moment, the same command
    goes on. Rows without weights or data are shown as MISSING with the reason and the command that would fill them,
    and the exit code is then 3.

    TABLE can also be "world": the leaderboard of all methods on the embedded world, from the records in
    results/world. With --run it is made again below --out, and what differs from the records is said: about 60
    CPU-minutes, 40 of them for 12 trainings; with --seeds 0, which trains nothing, 8. A mask method takes half a
    minute to two minutes with its twins, a training 3 to 5 minutes.
    """
    from ovbench.core.errors import UserError, unknown
    from ovbench.engine.reproduce import Means
    from ovbench.report.published import FILES

    tables = [name for name in FILES if name.startswith("table")]
    if table == "world":
        _refuse(
            "the leaderboard of the world",
            {"RUN_DIR": run_dirs, "--data-root": data_root, "--weights": weights, "--profile": profile},
        )
        asked = Making(running, out, _words(rows), _seeds(seeds), videos, steps, device, jobs, threads)
        leaderboard(asked, texts, form)
        return
    if table not in tables:
        raise unknown("table", table, [*tables, "world"])
    for name, other in (("--rows", rows), ("--videos", videos), ("--steps", steps), ("--update", texts)):
        if other:
            raise UserError(f"{name} goes with: ovbench reproduce world")
    means = Means(
        data_root=data_root,
        weights=_weights(weights),
        device=device,
        jobs=jobs,
        threads=threads,
    )
    if table == "table3":
        _refuse(
            "table3",
            {"RUN_DIR": run_dirs, "--weights": weights, "--profile": profile},
            "name its folder with --out",
        )
        _ablation(world, running, out, _count(seeds), means, form)
    else:
        _refuse(table, {"--seeds": seeds})
        _results(table, run_dirs, world, running, out, means, form, profile)


def _refuse(what: str, given: Mapping[str, object], hint: str | None = None) -> None:
    """Raise `UserError` for an option that would be ignored."""
    from ovbench.core.errors import UserError

    for name, value in given.items():
        if value:
            raise UserError(f"{what} takes no {name}", hint=hint)


def _words(given: str | None) -> tuple[str, ...]:
    return tuple(word.strip() for word in (given or "").split(",") if word.strip())


def _seeds(given: str | None) -> tuple[int, ...]:
    words = _words(given)
    if not all(word.isdecimal() for word in words):
        raise click.UsageError(f"--seeds wants numbers, as in 0,2, not '{given}'")
    return tuple(map(int, words))


def _count(given: str | None) -> int:
    """Of trainings per row."""
    found = 3 if given is None else int(given) if given.isdecimal() else 0
    if found < 1:
        raise click.UsageError(f"--seeds wants a number of trainings, at least 1, not '{given}'")
    return found


def _weights(given: tuple[str, ...]) -> dict[str, Path]:
    from ovbench.core.errors import UserError

    pairs = [text.partition("=") for text in given]
    for name, sign, path in pairs:
        if not (name and sign and path):
            raise UserError(f"--weights wants {_ROW}", where=name or sign + path)
    return {name: Path(path) for name, _, path in pairs}


def _results(
    table: str,
    run_dirs: tuple[Path, ...],
    world: bool,
    running: bool,
    out: Path | None,
    means: Means,
    form: str,
    profile: str | None,
) -> None:
    """Tables I and II."""
    from ovbench.core.errors import IncompleteError
    from ovbench.engine.reproduce import check_weights, run_rows
    from ovbench.report.find import RUNS
    from ovbench.report.reproduce import build, setting
    from ovbench.report.reproduce_formats import write

    asked = setting(table, world)
    check_weights(means, asked.methods)
    folder = out or RUNS / "reproduce" / (f"{table}-world" if world else table)
    failed: dict[str, str] = {}
    otherwise: list[Path] = []
    if running:
        failed = run_rows(asked.methods, asked.protocol.id, folder, means, trained=asked.trained)
        folders = [folder, *run_dirs]
    elif run_dirs or out:
        folders = _existing([*run_dirs, *([out] if out else [])])
    else:
        folders = [_kept(asked.protocol.id)] if world else [RUNS]
        otherwise = [RUNS] if world else []
    into = folder if running or out else _below(run_dirs)
    found = build(asked, folders, means, failed, otherwise=otherwise, profile=profile, into=into)
    click.echo(write(found, form))
    if found.missing:
        rows = sum(not line.absent for line in found.lines)
        nothing = (
            f"no records of {asked.protocol.id} come with ovbench; "
            if otherwise and not folders[0].is_dir()
            else ""
        )
        raise IncompleteError(
            f"{nothing}{found.missing} of {rows} rows have no measurement",
            where=", ".join(map(str, [*folders, *otherwise])),
            hint="the footnotes say why and give the command for each"
            if running
            else f"ovbench reproduce {table}{' --world' if world else ''} --run does what can be done here",
        )


def _kept(protocol_id: str) -> Path:
    """The folder of the records of a protocol of the world that come with ovbench."""
    from ovbench.core.paths import room

    return room("results") / "world" / protocol_id


def _existing(folders: list[Path]) -> list[Path]:
    from ovbench.core.errors import UserError

    for path in folders:
        if not path.exists():
            raise UserError(
                "there is no such file or folder", where=path, hint="name folders of runs, or none"
            )
    return folders


def _below(run_dirs: tuple[Path, ...]) -> Path | None:
    """A folder among those named that can take more runs, so that naming the same folders again finds them."""
    return next((path for path in run_dirs if path.is_dir() and not (path / "manifest.json").is_file()), None)


def _ablation(world: bool, running: bool, out: Path | None, seeds: int, means: Means, form: str) -> None:
    """Table III, which is an ablation of one method."""
    from dataclasses import replace

    from ovbench.core.paths import room
    from ovbench.engine.ablate import AblationRequest, claim, plan_ablation, recorded
    from ovbench.report.ablation import build, check_complete
    from ovbench.report.ablation_formats import write

    kept = room("results") / "world" / "table3"
    own = Path("runs", "reproduce", "table3-world" if world else "table3")
    request = AblationRequest(
        method="ov2vss",
        protocol="world-27-9" if world else "vspw-80-44",
        seeds=seeds,
        out=out or (kept if world and not running else own),
        data_root=means.data_root,
        device=means.device,
        threads=means.threads,
        jobs=means.jobs or 1,
    )
    failed: dict[str, str] = {}
    if running:
        from ovbench.engine.ablate_run import run_ablation

        if world:  # as many steps as the records that come with ovbench
            request = replace(request, steps=recorded(plan_ablation(replace(request, out=kept))).steps)
        experiment = plan_ablation(request)
        failed = run_ablation(experiment)
    else:
        experiment = recorded(plan_ablation(request))
        if experiment.out.is_dir():
            claim(experiment, write=False)
    table = build(experiment, None, failed)
    click.echo(write(table, form))
    check_complete(table, experiment, *(() if world or means.data_root else ("--data-root", "DIR")))
