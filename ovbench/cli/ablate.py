"""`ovbench ablate`: train and run every row of a method's ablation table, and fill it."""

from __future__ import annotations

from pathlib import Path

import click

from .formats import format_option
from .stopping import all_kept


@click.command()
@click.option(
    "--method", required=True, help="Method whose card has ablations, see `ovbench methods show ID`."
)
@click.option("--protocol", required=True, help="Protocol id, or a path to a .toml.")
@click.option("--variant", help="Size that the rows are applied to; default: the one for the protocol.")
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True, help="Trainings per row.")
@click.option("--rows", metavar="R,R,...", help="Only these rows (and 'full', which they are compared with).")
@click.option(
    "--steps", type=click.IntRange(min=1), help="Training steps of every row; default: the method's own."
)
@click.option("--metric", metavar="NAME", help="Score to tabulate, as in 'unseen.miou'; default: the card's.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder of trainings and runs; default: runs/ablate/PROTOCOL/METHOD-VARIANT.",
)
@click.option("--data-root", type=click.Path(path_type=Path), help="Folder of the data set.")
@click.option("--videos", type=click.IntRange(min=1), help="Run on the first N videos only.")
@click.option("--frames", type=click.IntRange(min=1), help="Run on the first N frames of each video only.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option(
    "--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Trainings at the same time."
)
@click.option(
    "--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Threads of each training."
)
@click.option("--table-only", is_flag=True, help="Train and run nothing: the table from what lies in --out.")
@format_option("text", "md", "csv", "latex", "html", "json")
def command(
    method: str,
    protocol: str,
    variant: str | None,
    seeds: int,
    rows: str | None,
    steps: int | None,
    metric: str | None,
    out: Path | None,
    data_root: Path | None,
    videos: int | None,
    frames: int | None,
    device: str,
    jobs: int,
    threads: int,
    table_only: bool,
    form: str,
) -> None:
    """Train and run every row of a method's ablation table with several seeds, and print it.

    All rows get the same steps, data and seeds. Can be stopped at any moment: the same command goes on where it
    stopped, and what is finished in --out is taken over. Rows that lack something are shown with the reason, and
    the exit code is then 3.
    """
    from ovbench.engine.ablate import AblationRequest, claim, plan_ablation, recorded
    from ovbench.engine.ablate_run import run_ablation

    request = AblationRequest(
        method=method,
        protocol=protocol,
        seeds=seeds,
        variant=variant,
        rows=tuple(name.strip() for name in (rows or "").split(",") if name.strip()),
        steps=steps,
        out=out,
        data_root=data_root,
        videos=videos,
        frames=frames,
        device=device,
        threads=threads,
        jobs=jobs,
        metric=metric,
    )
    experiment, failed = plan_ablation(request), {}
    if table_only:
        experiment = recorded(experiment)
        claim(experiment, write=False)
    else:
        with all_kept():
            failed = run_ablation(experiment)
    from ovbench.report.ablation import build, check_complete
    from ovbench.report.ablation_formats import write

    table = build(experiment, metric, failed)
    click.echo(write(table, form))
    check_complete(table, experiment)
