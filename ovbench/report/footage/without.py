"""A run that kept no label maps: the command that gives it some."""

from __future__ import annotations

import shlex
from pathlib import Path

from ovbench.core.errors import UserError
from ovbench.core.paths import cache_dir
from ovbench.methods.options import show as option_text
from ovbench.protocol.load import protocol_ids

from ..model import Run
from ..names import method_name
from .source import saves_label_maps


def need_label_maps(run: Run, protocol: str | None, data_root: Path | None) -> None:
    """Raise `UserError`, with a command to copy, for a run without label maps.

    Args:
        protocol, data_root: as the user gave them, so that the command repeats them.
    """
    if saves_label_maps(run):
        return
    packed = run.path.resolve().is_relative_to(cache_dir("packs").resolve())
    command = shlex.join(_command(run, packed, protocol, data_root))
    if packed:
        what = "this run was packed without its label maps"
        command = f"ovbench pack RUN --with-predictions, where it was made; or {command}"
    elif run.method.get("id") == "predictions":
        what = "this run scored label maps from elsewhere, and kept no copies"
    else:
        what = "this run saved no label maps"
    raise UserError(f"{what}, so there is nothing to look at", where=run.path, hint=command)


def _command(run: Run, packed: bool, protocol: str | None, data_root: Path | None) -> list[str]:
    """The command, as far as the manifest tells; folders in it are shortened, but for those that were given."""
    sessions = run.manifest.get("sessions") or [{}]
    dropped = ("--fresh", "--save-predictions")
    words = [str(word) for word in sessions[-1].get("command") or () if word not in dropped]
    if words[:2] in (["ovbench", "run"], ["ovbench", "score"]):
        words = _without(words, "--out")
        words += [] if packed else ["--out", str(run.path)]
    else:  # a board or another version made it: the same run in a folder of its own
        words = _from_facts(run)
    if protocol is not None:
        words = [*_without(words, "--protocol"), "--protocol", protocol]
    if data_root is not None:
        words = [*_without(words, "--data-root"), "--data-root", str(data_root)]
    return [*words, "--save-predictions"]


def _from_facts(run: Run) -> list[str]:
    method = run.method
    if method.get("id") == "predictions":
        words = ["ovbench", "score", "--predictions", str(method.get("folder") or "FOLDER")]
    else:
        words = ["ovbench", "run", "--method", method_name(method).partition(" ")[0]]
    known = str(run.protocol["id"]) in protocol_ids()
    words += ["--protocol", str(run.protocol["id"]) if known else "FILE.toml"]
    weights = method.get("weights")
    words += ["--weights", str(weights)] if weights else []
    words += ["--untrained"] if method.get("untrained") else []
    root = (run.manifest.get("data") or {}).get("root")
    words += ["--data-root", str(root)] if root else []
    for key, value in sorted(((run.manifest.get("options") or {}).get("given") or {}).items()):
        words += ["--set", f"{key}={option_text(value)}"] if key != "folder" else []
    return words


def _without(words: list[str], option: str) -> list[str]:
    """The words of a command without an option and its value."""
    kept: list[str] = []
    value = False
    for word in words:
        if not value and word != option and not word.startswith(f"{option}="):
            kept.append(word)
        value = not value and word == option
    return kept
