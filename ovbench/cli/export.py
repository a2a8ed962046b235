"""`ovbench export`: counts of a run as CSV or Parquet, or its label maps in another form."""

from __future__ import annotations

from pathlib import Path

import click

_BY_SUFFIX = {".csv": "csv", ".parquet": "parquet", ".json": "rle", ".npz": "npz"}
_ENDINGS = {form: suffix for suffix, form in _BY_SUFFIX.items()}
_TABLES, _MAPS = ("csv", "parquet"), ("rle", "npz", "png")


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--what",
    required=True,
    type=click.Choice(["frames", "videos", "classes", "predictions"]),
    help="A row per frame, per video, per class; or the saved label maps.",
)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="File, or for label maps also a folder."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "parquet", "rle", "npz", "png"]),
    help="Tables: csv, parquet; label maps: rle, npz, png. Default: by the ending of --out.",
)
@click.option(
    "--per",
    type=click.Choice(["run", "video", "frame"]),
    help="Of what the rows of classes are; default: video.",
)
@click.option("--convention", metavar="ID", help="Scores under another convention than the protocol's.")
@click.option("--protocol", help="Path of your own protocol; label maps outside a run need an id or a path.")
@click.option(
    "--data-root",
    type=click.Path(path_type=Path),
    help="Folder of the data set, for label maps without names.",
)
@click.option("--force", is_flag=True, help="Replace what was exported before.")
def command(
    run: Path,
    what: str,
    out: Path,
    form: str | None,
    per: str | None,
    convention: str | None,
    protocol: str | None,
    data_root: Path | None,
    force: bool,
) -> None:
    """Write counts and scores of RUN as CSV or Parquet, or its label maps as run lengths (COCO), NumPy or PNG.

    Every row carries protocol, convention, method and run key. Label maps come back through
    `ovbench score --predictions OUT` with the very same counts. The last line on stdout is OUT.
    """
    from ovbench.core.errors import UserError

    by_suffix = _BY_SUFFIX.get(out.suffix)
    choices = _MAPS if what == "predictions" else _TABLES
    hint = f"--what {what} is written as {', '.join(choices)}: --format {' or '.join(choices)}"
    if form is None and by_suffix is None:
        raise UserError("which format?", where=out, hint=hint)
    form = form or str(by_suffix)
    if form not in choices:
        raise UserError(f"--what {what} is not written as {form}", where=out, hint=hint)
    if by_suffix is not None and by_suffix != form:
        ending = f"--out with the ending {_ENDINGS[form]}" if form in _ENDINGS else "a folder as --out"
        raise UserError(
            f"--format {form} and a file that ends in {out.suffix} do not go together",
            where=out,
            hint=f"give {ending}, or leave --format out",
        )
    if what == "predictions":
        from ovbench.report.export_maps import export_maps

        if per or convention:
            raise UserError("--per and --convention go with tables, not with label maps")
        click.echo(export_maps(run, out, form, protocol=protocol, data_root=data_root, force=force))
        return
    from ovbench.report.export import export_table

    if data_root is not None:
        raise UserError("--data-root goes with --what predictions; tables come from the records alone")
    click.echo(
        export_table(run, what, out, form, per=per, convention=convention, protocol=protocol, force=force)
    )
