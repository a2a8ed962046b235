"""`ovbench sweep`: the same run with more and more names to choose from."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command()
@click.option("--method", required=True, help="Method, as for `ovbench run`.")
@click.option("--protocol", required=True, help="Protocol id, or a path to a .toml.")
@click.option(
    "--add", "sizes", default="0,20,60,180", show_default=True, metavar="N,N,...",
    help="How many names that are no class are added, run by run.",
)  # fmt: skip
@click.option(
    "--names", type=click.Path(path_type=Path),
    help="Text file of such names, one a line; default: those of other class tables (in the world: its other names).",
)  # fmt: skip
@click.option("--data-root", type=click.Path(path_type=Path), help="Folder of the data set.")
@click.option(
    "--weights", type=click.Path(path_type=Path), help="Weights file, or the name of shipped weights."
)
@click.option("--variant", help="Configuration of the method.")
@click.option(
    "--set", "settings", multiple=True, metavar="K=V", help="Option of the method; may be repeated."
)
@click.option("--videos", type=int, help="Only the first N videos.")
@click.option("--frames", type=int, help="Only the first N frames of each video.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--jobs", type=int, help="Worker processes.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder of the runs; default: runs/sweep-PROTOCOL."
)
def command(
    method: str,
    protocol: str,
    sizes: str,
    names: Path | None,
    data_root: Path | None,
    weights: Path | None,
    variant: str | None,
    settings: tuple[str, ...],
    videos: int | None,
    frames: int | None,
    device: str,
    jobs: int | None,
    out: Path | None,
) -> None:
    """Run a method with the names of a protocol and, run by run, more names that are no class.

    Truth and videos stay the same; answering a further name is wrong. Can be stopped and taken up again. Prints the
    run folders; `ovbench plot vocabulary` draws them.
    """
    from ovbench.core.errors import UserError
    from ovbench.engine.plan import Request
    from ovbench.engine.sweep import sweep
    from ovbench.methods.options import split_settings

    try:
        wanted = sorted({int(size) for size in sizes.split(",")})
    except ValueError:
        raise UserError(f"--add '{sizes}' is not a list of numbers", hint="such as --add 0,20,60") from None
    request = Request(
        method=method,
        protocol=protocol,
        data_root=data_root,
        weights=weights,
        variant=variant,
        settings=split_settings(settings),
        videos=videos,
        frames=frames,
        device=device,
        jobs=jobs,
        command=tuple(sys.argv),
    )
    folder = out or Path("runs") / f"sweep-{Path(protocol).stem}"
    for summary in sweep(request, wanted, folder, names, lambda line: click.echo(line, err=True)):
        click.echo(summary.parent)
