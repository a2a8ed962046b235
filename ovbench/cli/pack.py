"""`ovbench pack`: finished runs in one archive."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("run_dirs", nargs=-1, required=True, metavar="RUN_DIR...", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The archive, a .zip.")
@click.option("--with-predictions", is_flag=True, help="Also the label maps (runs with --save-predictions).")
@click.option("--protocol", help="Path of your own protocol, where the runs were made with one.")
@click.option("--force", is_flag=True, help="Replace an archive of this name.")
def command(
    run_dirs: tuple[Path, ...], out: Path, with_predictions: bool, protocol: str | None, force: bool
) -> None:
    """Put finished runs into one archive with the hash of every file, for `ovbench verify` elsewhere.

    RUN_DIR may also be a folder that holds runs. Each is verified first. The archive stands for its runs in
    `ovbench table`, `compare`, `explain` and below `results/`. The last line on stdout is its path.
    """
    from ovbench.core.words import plural
    from ovbench.report.packed import pack_runs

    pack, verdicts = pack_runs(run_dirs, out, predictions=with_predictions, protocol=protocol, force=force)
    for verdict in verdicts:
        click.echo(f"packed  {verdict.line}")
        for note in verdict.notes:
            click.echo(f"    {note}")
    click.echo(
        f"{plural(len(verdicts), 'run')}, {plural(len(pack.files), 'file')}, {out.stat().st_size / 1e6:.1f} MB, "
        f"content {pack.content}"
    )
    click.echo(out)
