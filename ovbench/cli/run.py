"""`ovbench run`: segment a protocol's videos with a method and score them."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command()
@click.option(
    "--method",
    required=True,
    help="Method, as in `ovbench methods`; METHOD:VARIANT, METHOD+vote and METHOD+flow work.",
)
@click.option("--protocol", required=True, help="Protocol id, or a path to a .toml.")
@click.option(
    "--data-root", type=click.Path(path_type=Path), help="Folder of the data set (the world needs none)."
)
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    help="Weights file, or the name of shipped weights (e.g. seed1).",
)
@click.option("--variant", help="Configuration of the method.")
@click.option(
    "--set", "settings", multiple=True, metavar="K=V", help="Option of the method; may be repeated."
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16", "fp16"]),
    help="Arithmetic of methods that have the option 'precision' (default: fp32).",
)
@click.option("--untrained", is_flag=True, help="Name-seeded weights; every output is marked.")
@click.option("--videos", type=int, help="Only the first N videos (the summary is marked partial).")
@click.option("--frames", type=int, help="Only the first N frames of each video (marked partial).")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--jobs", type=int, help="Worker processes; default: the usable cores (1 on a GPU).")
@click.option("--threads", type=int, default=1, show_default=True, help="Threads of each worker.")
@click.option("--out", type=click.Path(path_type=Path), help="Run folder; default: runs/PROTOCOL/METHOD/KEY.")
@click.option("--save-predictions", is_flag=True, help="Keep the label maps as PNG files.")
@click.option(
    "--flow",
    multiple=True,
    metavar="BACKEND",
    help="Also temporal consistency along an optical flow: dis, dis-fast, dis-ultrafast, farneback, "
    "raft-small=FILE, raft-large=FILE, files=DIR; each also with -fb (dis-fb, raft-small-fb=FILE), which leaves "
    "occluded pixels out. May be repeated.",
)
@click.option(
    "--overlap",
    type=click.Choice(["auto", "on", "off"]),
    default="auto",
    show_default=True,
    help="Read frames and write label maps in threads beside the method; changes no number.",
)
@click.option(
    "--from",
    "label_maps",
    metavar="RUN_DIR",
    type=click.Path(path_type=Path),
    help="For METHOD+vote and METHOD+flow: take the label maps of METHOD from its run with --save-predictions "
    "instead of computing them again; same numbers.",
)
@click.option("--fresh", is_flag=True, help="Delete the run in the folder and begin anew.")
def command(
    method: str,
    protocol: str,
    data_root: Path | None,
    weights: Path | None,
    variant: str | None,
    settings: tuple[str, ...],
    precision: str | None,
    untrained: bool,
    videos: int | None,
    frames: int | None,
    device: str,
    jobs: int | None,
    threads: int,
    out: Path | None,
    save_predictions: bool,
    flow: tuple[str, ...],
    overlap: str,
    label_maps: Path | None,
    fresh: bool,
) -> None:
    """Segment a protocol's videos with a method and score them.

    Can be stopped at any moment: the same command goes on where it stopped. The last line on stdout is
    the path of summary.json.
    """
    from ovbench.engine.evaluate import run
    from ovbench.engine.plan import Request
    from ovbench.methods.options import split_settings

    request = Request(
        method=method,
        protocol=protocol,
        data_root=data_root,
        weights=weights,
        variant=variant,
        settings=_settings(method, split_settings(settings), precision),
        untrained=untrained,
        videos=videos,
        frames=frames,
        device=device,
        jobs=jobs,
        threads=threads,
        out=out,
        save_predictions=save_predictions,
        fresh=fresh,
        flow=flow,
        overlap=overlap,
        label_maps=label_maps,
        command=tuple(sys.argv),
    )
    click.echo(run(request))


def _settings(method: str, given: dict[str, str], precision: str | None) -> dict[str, str]:
    """`--set` and `--precision` together; raises `UserError` where the method computes in one way only."""
    from ovbench.core.errors import UserError
    from ovbench.methods.registry import card

    if precision is None:
        return given
    if "precision" in given:
        raise UserError(
            "the precision is given twice",
            where=f"--precision {precision}, --set precision={given['precision']}",
        )
    name = method.partition(":")[0].partition("+")[0]
    if "precision" not in card(name).options:
        raise UserError(
            f"method '{name}' has no option 'precision': it always computes in 32-bit floats",
            hint="leave --precision out",
        )
    return {**given, "precision": precision}
