"""The command line: a group that imports a verb's module only when that verb is called."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

import click

from ovbench import __version__
from ovbench.core.errors import OvbenchError

# verb -> (module that holds `command`, the line shown in --help)
VERBS: dict[str, tuple[str, str]] = {
    "demo": ("ovbench.cli.demo", "Run the embedded world's leaderboard: no data, no GPU."),
    "run": ("ovbench.cli.run", "Segment a protocol's videos with a method and score them."),
    "score": ("ovbench.cli.score", "Score label maps that lie on disk."),
    "train": ("ovbench.cli.train", "Train a method on a protocol's seen classes."),
    "sweep": ("ovbench.cli.sweep", "Run a method with more and more names to choose from."),
    "ablate": ("ovbench.cli.ablate", "Train, run and tabulate every row of an ablation."),
    "table": ("ovbench.cli.table", "Print a table of runs."),
    "reproduce": ("ovbench.cli.reproduce", "A published table beside what was measured."),
    "compare": ("ovbench.cli.compare", "Compare two runs video by video."),
    "plot": ("ovbench.cli.plot", "Draw figures of runs for a paper."),
    "explain": ("ovbench.cli.explain", "Say how a score came about."),
    "report": ("ovbench.cli.report", "Write one self-contained page about runs."),
    "show": ("ovbench.cli.show", "Show frames, truth and label maps of a video side by side."),
    "export": ("ovbench.cli.export", "Write counts as CSV or Parquet, or label maps in another form."),
    "pack": ("ovbench.cli.pack", "Put finished runs into one archive."),
    "verify": ("ovbench.cli.verify", "Check an archive of runs, or a run: hashes, and every score."),
    "methods": ("ovbench.cli.methods", "List the methods, or explain one."),
    "protocols": ("ovbench.cli.protocols", "List the protocols, or explain one."),
    "weights": ("ovbench.cli.weights", "Say what a weights file is, or convert it to safetensors."),
    "data": ("ovbench.cli.data", "Check data sets."),
    "doctor": ("ovbench.cli.doctor", "Say what this installation can do."),
}


class LazyGroup(click.Group):
    """A click group whose commands are imported when they are called, so that --help stays fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        command: click.Command = importlib.import_module(VERBS[name][0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(verb, line) for verb, (_, line) in VERBS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            from ovbench.core.errors import unknown

            raise unknown("command", args[0], VERBS)
        return super().resolve_command(ctx, args)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ovbench")
def cli() -> None:
    """ovbench: open-vocabulary video segmentation, measured."""


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point: runs the command line and exits with the documented code."""
    sys.exit(_run(argv))


def _run(argv: Sequence[str] | None) -> int:
    debug = bool(os.environ.get("OVBENCH_DEBUG"))
    try:
        # click hands an `Exit` back as its code, and a command's own return value otherwise
        code = cli.main(args=argv, prog_name="ovbench", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except OvbenchError as error:
        if debug:
            raise
        click.echo(f"error: {error}", err=True)
        return error.exit_code
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return 2
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted; finished videos are kept, run the same command to go on", err=True)
        return 130
    except BrokenPipeError:
        sys.stdout = None
        return 0
    except OSError as error:
        if debug:
            raise
        click.echo(f"error: {error.strerror or error}\n  where: {error.filename or '?'}", err=True)
        return 2


if __name__ == "__main__":
    main()
