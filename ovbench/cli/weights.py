"""`ovbench weights`: what a weights file is, and the same as safetensors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ovbench.methods.fit import Fit
    from ovbench.methods.inspect import Report
    from ovbench.methods.stock import Stock

_FEW = 6
_METHOD = click.option(
    "--method", default="", help="Compare with this method alone (method or method:variant)."
)
_VARIANT = click.option("--variant", default="", help="Compare with this variant alone.")


@click.group()
def command() -> None:
    """Say what a weights file is, or convert it to safetensors."""


@command.command()
@click.argument("file", type=click.Path())
@_METHOD
@_VARIANT
@click.option(
    "--all", "complete", is_flag=True, help="List all names that are missing, left over or misshapen."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON (lists of names are complete).")
def inspect(file: str, method: str, variant: str, complete: bool, as_json: bool) -> int:
    """Say what FILE is: format, contents, hashes, and whose weights it holds.

    Exit code 0 when some method takes it or it is a well-known file, 1 when it can be read and is neither,
    2 when it cannot be read.
    """
    from ovbench.methods.inspect import inspect as look

    report = look(file, *_named(method, variant))
    click.echo(json.dumps(report.to_dict(), indent=1) if as_json else report_text(report, complete, method))
    return 0 if report.known else 1


@command.command()
@click.argument("file", type=click.Path())
@click.argument("out", type=click.Path())
@_METHOD
@_VARIANT
@click.option("--force", is_flag=True, help="Overwrite OUT.")
def convert(file: str, out: str, method: str, variant: str, force: bool) -> None:
    """Write the tensors of FILE to OUT as safetensors, with what is known about them in its header.

    Whatever stands beside the weights (an optimiser's state) is left out. The state's hash stays the same.
    """
    from ovbench.methods.inspect import convert as write

    before, after = write(file, out, *_named(method, variant), force=force)
    left = [key for key in before.file.beside if key != "meta"]
    click.echo(f"{out}\n  SHA-256    {after.sha256}")
    same = "as before" if after.state_sha256 == before.state_sha256 else "its names changed"
    click.echo(f"  state      {after.state_sha256} ({same})")
    click.echo(f"  tensors    {_contents(after)}")
    if left:
        click.echo(f"  left out   {', '.join(left)}")
    click.echo("\n".join(_header(after.file.header)))


def report_text(report: Report, complete: bool = False, asked: str = "") -> str:
    """Everything about a file, for a person; lists of names are cut unless `complete`.

    `asked`: the method that it was compared with, "" where that was every one.
    """
    file = report.file
    form = ", ".join(part for part in (file.format, file.writer) if part)
    lines = [str(file.path), f"  format     {form}"]
    lines.append(f"  file       {_size(file.path.stat().st_size)}, SHA-256 {report.sha256}")
    lines.append(f"  tensors    {_contents(report)}")
    lines.append(f"  state      {report.state_sha256} (of names, types, shapes and values)")
    if file.wrapper:
        beside = ", ".join(file.beside)
        lines.append(
            f"  wrapper    the state dict is under '{file.wrapper}'"
            + (f", beside {beside}" if beside else "")
        )
    if file.prefix:
        lines.append(f"  prefix     '{file.prefix}' before all names, taken off")
    lines += _header(file.header) + _meta(report)
    lines += _names("NaN or infinity, refused where a network reads it", report.not_finite, complete)
    if report.stock:
        lines += ["", f"is {report.stock.title}", *_stock(report.stock, complete)]
    for fit in report.fits:
        lines += ["", *_fit(fit, complete)]
    if not report.known and not report.fits:
        whom = f"does not fit {asked}" if asked else "fits no method here"
        lines += ["", f"{whom}; names begin with " + ", ".join(_beginnings(file.tensors))]
    return "\n".join(lines)


def _named(method: str, variant: str) -> tuple[str, str]:
    name, sign, tail = method.partition(":")
    return name, variant or (tail if sign else "")


def _contents(report: Report) -> str:
    types = ", ".join(f"{count} {name}" for name, count in report.types.items())
    return f"{len(report.file.tensors):,} ({types}), {report.parameters:,} numbers, {_size(report.bytes)}"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.4g} {unit}"
        count /= 1000
    return f"{count:.4g} GB"


def _header(header: dict[str, str]) -> list[str]:
    return [f"  header     {key} = {_cut(value)}" for key, value in sorted(header.items())]


def _meta(report: Report) -> list[str]:
    from ovbench.methods.inspect import shown_meta

    return [f"  meta       {key} = {_cut(value)}" for key, value in shown_meta(report.file.meta).items()]


def _cut(value: Any) -> str:
    # Texts from strangers: control characters are written as escapes, so that none reaches the terminal.
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if len(text) <= 100 else f"{text[:100]}... ({len(text)} characters)"


def _stock(stock: Stock, complete: bool) -> list[str]:
    lines = [f"  {stock.matched:,} tensors have its names and shapes"]
    lines += _names("not in the file", stock.missing, complete) + _names("besides", stock.left_over, complete)
    return lines + ([f"  use        {stock.use}"] if stock.use else [])


def _fit(fit: Fit, complete: bool) -> list[str]:
    name = fit.method + (f", variant {fit.variant}" if fit.variant else "")
    name += f", profile {fit.profile}" if fit.profile else ""
    if fit.loads:
        lines = [f"fits {name}", f"  {fit.matched:,} tensors have its names and shapes"]
    else:
        lines = [f"does not fit, though near: {name}", f"  {fit.matched:,} tensors have its names and shapes"]
    if fit.prefix:
        lines.append(
            f"  prefix     '{fit.prefix}' must be taken off all names (`ovbench weights convert` does)"
        )
    lines += _names("not in the file, comes with clip_weights", fit.of_clip, complete)
    where = "not in the file, not needed in it" if fit.loads else "missing"
    lines += _names(where, [name for name in fit.missing if name not in fit.of_clip], complete)
    lines += _names("left over, not read" if fit.loads else "left over", fit.left_over, complete)
    lines += _names("wrong shape", fit.wrong, complete)
    if fit.remark:
        lines.append(f"  remark     {fit.remark}")
    if fit.also:
        lines.append(f"  also       {', '.join(fit.also)}")
    return lines


def _names(label: str, names: Sequence[str], complete: bool) -> list[str]:
    if not names:
        return []
    if complete:
        return [f"  {label} ({len(names)}):", *(f"    {_cut(name)}" for name in names)]
    shown = ", ".join(_cut(name) for name in names[:_FEW])
    more = f", and {len(names) - _FEW} more (--all lists them)" if len(names) > _FEW else ""
    return [f"  {label} ({len(names)}): {shown}{more}"]


def _beginnings(names: Any) -> list[str]:
    found = list(dict.fromkeys(_cut(name.partition(".")[0]) for name in names))
    return found[:_FEW] + (["..."] if len(found) > _FEW else [])
