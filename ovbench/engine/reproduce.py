"""Run what a published table needs, row by row, each into a folder of its own; what is finished is taken over."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ovbench.core.errors import OvbenchError, UserError
from ovbench.datasets.open import open_dataset
from ovbench.methods.registry import cards
from ovbench.methods.select import how_to_train, select
from ovbench.protocol.load import load_protocol
from ovbench.protocol.schema import Protocol
from ovbench.store.rundir import RunDir

from .evaluate import execute
from .plan import Plan, Request, make_plan
from .pool import start_server
from .progress import note


@dataclass(frozen=True)
class Means:
    """What the user gives: where data and weights lie, and how much may run at once.

    `weights`: METHOD or METHOD:VARIANT -> file; methods that are not named use shipped ones.
    """

    data_root: Path | None = None
    weights: Mapping[str, Path] = field(default_factory=dict)
    device: str = "auto"
    jobs: int | None = None
    threads: int = 1

    def weights_for(self, method: str) -> Path | None:
        """The file for METHOD:VARIANT, named so or by its method alone."""
        return self.weights.get(method) or self.weights.get(method.partition(":")[0])


def check_weights(means: Means, methods: Sequence[str]) -> None:
    """Raise `UserError` for weights of a method that the table does not have, or a file that is not there."""
    known = {name for method in methods for name in (method, method.partition(":")[0])}
    for name, path in means.weights.items():
        if name not in known:
            raise UserError(
                f"no row of this table is '{name}'", hint=f"rows: {', '.join(sorted(filter(None, methods)))}"
            )
        if not path.is_file():
            raise UserError("there is no weights file here", where=path)


def obstacle(method: str, protocol: Protocol, means: Means, trained: Protocol | None = None) -> str | None:
    """Why a method cannot be run here and now, in words; None where nothing stands in the way.

    `trained`: the protocol that it would be trained on; default: the one it is run on.
    """
    base, _, variant = method.partition(":")
    card = cards().get(base)
    if card is None:
        return f"this installation has no method '{base}'"
    if variant and variant not in card.variants:
        return f"method '{base}' has no variant '{variant}'"
    try:
        select(method, weights=means.weights_for(method), protocol=protocol)
    except UserError as error:
        expected = card.official_for(variant)
        if protocol.dataset.name == "world" or not expected.file:  # nobody else's weights fit the world
            return error.what
        training = how_to_train(card, variant, trained or protocol)
        return f"{error.what}; expected: {expected.file}, from {expected.source}" + (
            f"; or train it: {training}" if training else ""
        )
    try:
        open_dataset(protocol, means.data_root)
    except UserError as error:
        return error.what
    return None


def command(
    method: str, protocol: Protocol, means: Means, trained: Protocol | None = None, into: Path | None = None
) -> str:
    """The command that fills a row, with DIR and FILE where the user must say what to put.

    `into`: the folder that the run goes below; default: where `ovbench run` puts it, below ./runs.

    On the world, where there are no weights, training (on `trained`, by default the same protocol) comes first.
    """
    words = ["ovbench", "run", "--method", method, "--protocol", protocol.id]
    if protocol.dataset.name != "world":
        words += ["--data-root", str(means.data_root or "DIR")]
    if into is not None:
        words += ["--out", str(into / folder_name(method))]
    given = means.weights_for(method)
    base, _, variant = method.partition(":")
    card = cards().get(base)
    option = "" if card is None or protocol.dataset.name == "world" else card.official_for(variant).option
    second = ["--set", f"{option}=FILE"] if option else []
    if given is not None:
        return shlex.join([*words, "--weights", str(given), *second])
    try:
        select(method, protocol=protocol)
    except UserError:
        known = card is not None and variant in card.variants and protocol.dataset.name == "world"
        source = trained or protocol
        training = how_to_train(card, variant, source) if card is not None and known else None
        if training is None:
            return shlex.join([*words, "--weights", "FILE", *second])
        folder = Path("runs", "train", source.id, f"{base}-{variant}-seed0")
        return f"{training} && {shlex.join([*words, '--weights', str(folder / 'weights.safetensors')])}"
    return shlex.join(words)


def folder_name(method: str) -> str:
    """The run folder of METHOD:VARIANT below the folder of a table."""
    return method.replace(":", "-")


def run_rows(
    methods: Sequence[str],
    protocol_id: str,
    out: Path,
    means: Means,
    tell: Callable[[str], None] = note,
    trained: Protocol | None = None,
) -> dict[str, str]:
    """Run every method that can be run; returns {method: reason} of those that could not.

    `trained`: the protocol that the methods are trained on; default: the one they are run on.
    A row that fails does not stop the others. Folders below `out` are this table's own: one that holds an older
    run (other weights, options or code) is done again.
    """
    protocol = load_protocol(protocol_id)
    failed: dict[str, str] = {}
    wanted = []
    for method in dict.fromkeys(filter(None, methods)):
        reason = obstacle(method, protocol, means, trained)
        if reason is None:
            wanted.append(method)
        else:
            failed[method] = reason
    if wanted:
        start_server(True)
    for number, method in enumerate(wanted, 1):
        tell(f"[{number}/{len(wanted)}] {method}")
        try:
            execute(_plan(method, protocol_id, out / folder_name(method), means))
        except OvbenchError as error:
            failed[method] = " ".join(str(error).split())
    return failed


def _plan(method: str, protocol_id: str, folder: Path, means: Means) -> Plan:
    request = Request(
        method=method,
        protocol=protocol_id,
        data_root=means.data_root,
        weights=means.weights_for(method),
        device=means.device,
        jobs=means.jobs,
        threads=means.threads,
        out=folder,
    )
    plan = make_plan(request)
    there = RunDir(folder)
    if there.has_manifest() and there.manifest().get("run_key") != plan.run_key:
        note(f"{method}: an older run lies in {folder} (other weights, options or code); it is done again")
        request = Request(**{**request.__dict__, "fresh": True})
        plan = make_plan(request)
    return plan
