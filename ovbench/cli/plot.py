"""`ovbench plot`: figures of runs as PDF, SVG and PNG."""

from __future__ import annotations

from pathlib import Path

import click

from ovbench.report.figures import FIGURES, WIDTHS

_KINDS = "\b\nKinds:\n" + "\n".join(f"  {kind:<12} {line}" for kind, (_, line) in FIGURES.items())


@click.command(epilog=_KINDS)
@click.argument("kind", metavar="KIND")
@click.argument("run_dirs", nargs=-1, metavar="[RUN_DIR]...", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path),
    help="File (.pdf, .svg or .png); without an ending all three. Default: KIND, here.",
)  # fmt: skip
@click.option(
    "--width", type=click.Choice(WIDTHS), default="auto", show_default=True,
    help="A paper's column (3.3 in), its page (6.9 in), or what the kind needs.",
)  # fmt: skip
@click.option("--dpi", type=click.IntRange(50, 1200), default=300, show_default=True, help="Of PNG files.")
@click.option(
    "--protocol",
    help="Path of your own protocol, where the runs were made with one; vocabulary: also a folder of them.",
)
@click.option("--profile", help="Of methods with several networks under one name, only this one.")
@click.option(
    "--group", default="auto", help="per-class, difference: unseen (default), seen, all, or a group's name."
)
@click.option(
    "--score", metavar="KEY", help="Accuracy, such as unseen.miou; default: the protocol's headline."
)
@click.option("--each-seed", is_flag=True, help="Training seeds of one method apart instead of their mean.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many methods, the best ones.")
@click.option("--controls", is_flag=True, help="Control rows too.")
@click.option("--window", type=int, help="consistency: length of the windows, such as 16.")
@click.option("--video", metavar="ID", help="strip: which video; default: the first.")
@click.option(
    "--row",
    type=click.IntRange(min=0),
    help="strip: which pixel row; default: one that crosses many classes.",
)
@click.option(
    "--data-root",
    type=click.Path(path_type=Path),
    help="strip: folder of the data set (the world needs none).",
)
def command(
    kind: str,
    run_dirs: tuple[Path, ...],
    out: Path | None,
    width: str,
    dpi: int,
    protocol: str | None,
    profile: str | None,
    group: str,
    score: str | None,
    each_seed: bool,
    limit: int | None,
    controls: bool,
    window: int | None,
    video: str | None,
    row: int | None,
    data_root: Path | None,
) -> None:
    """Draw a figure of runs; without RUN_DIR of all below ./runs.

    Prints the files it wrote, one a line.
    """
    from ovbench.core.errors import unknown
    from ovbench.report.figures import Options, draw
    from ovbench.report.figures.files import checked, save
    from ovbench.report.figures.style import undrawable
    from ovbench.report.find import open_runs

    if kind not in FIGURES:
        raise unknown("figure", kind, FIGURES)
    target = checked(out or Path(kind))
    options = Options(
        width=width,
        group=group,
        seeds="each" if each_seed else "mean",
        limit=limit,
        controls=controls,
        score=score,
        window=window,
        protocol=protocol,
        profile=profile,
        video=video,
        row=row,
        data_root=data_root,
    )
    figure = draw(kind, open_runs(run_dirs), options)
    boxes = undrawable(figure)
    if boxes:
        click.echo(boxes, err=True)
    for path in save(figure, target, dpi=dpi):
        click.echo(path)
