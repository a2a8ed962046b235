"""`ovbench show`: a picture of a video, with what methods said about it."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--video", metavar="ID", help="Which video.")
@click.option(
    "--pick",
    metavar="RULE",
    help="Let a rule choose the video: best, worst, flicker or disagreement (of two runs or more).",
)
@click.option(
    "--frames", metavar="LIST", help="Which frames, counted from 0: 0,5,8-12. Default: 4, or all when moving."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Still: .png, .pdf, .svg; moving: .gif, .webp, .mp4. Default: VIDEO.png.",
)
@click.option(
    "--errors/--no-errors", default=True, show_default=True, help="Also show where methods are wrong."
)
@click.option(
    "--fps", type=click.FloatRange(0.1, 60), default=5, show_default=True, help="Frames per second."
)
@click.option("--protocol", help="Path of your own protocol; label maps outside a run need an id or a path.")
@click.option(
    "--data-root", type=click.Path(path_type=Path), help="Folder of the data set; the world needs none."
)
def command(
    runs: tuple[Path, ...],
    video: str | None,
    pick: str | None,
    frames: str | None,
    out: Path | None,
    errors: bool,
    fps: float,
    protocol: str | None,
    data_root: Path | None,
) -> None:
    """Show frames of a video, its truth, and the label maps and errors of each RUN beside each other.

    A RUN must have kept its label maps (`ovbench run ... --save-predictions`). With --protocol it may also be label
    maps in any form that `ovbench score` reads. Which video it is and why is said on stderr; the last line on stdout
    is the file.
    """
    from ovbench.report.footage.show import Asked, show

    shown = show(
        Asked(
            runs,
            video=video,
            rule=pick,
            frames=frames,
            out=out,
            errors=errors,
            fps=fps,
            protocol=protocol,
            data_root=data_root,
        )
    )
    click.echo(shown.what, err=True)
    click.echo(shown.path)
