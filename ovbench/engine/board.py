"""Several methods on one protocol, one after the other: the default leaderboard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ovbench.core.errors import UserError
from ovbench.methods.wrappers import SIGN
from ovbench.protocol.load import load_protocol

from .evaluate import execute
from .plan import Plan, Request, make_plan
from .pool import start_server
from .progress import note


def board_rows(protocol_id: str) -> list[str]:
    """The rows that a protocol asks for; raises `UserError` when it names none."""
    protocol = load_protocol(protocol_id)
    if not protocol.board:
        raise UserError(
            f"protocol '{protocol.id}' names no rows for a leaderboard",
            hint="name them: --methods random,majority,oracle-grid",
        )
    return list(protocol.board)


def run_board(shared: Request, rows: Sequence[str]) -> list[Path]:
    """Run every row into its own folder below `shared.out`; returns the run folders in order.

    All rows are resolved before the first is run, so that a mistake in the last one shows at once.
    Finished rows are taken over, a row that was interrupted goes on. Where a method and a twin of it
    (`+vote`, `+flow`) both stand on the board, the twin takes the method's stored label maps: same counts, no
    second pass.
    """
    plans = _share(rows, [_plan(shared, row) for row in rows])
    if any(plan.jobs > 1 for plan in plans):
        start_server(any("models" in plan.selection.card.needs for plan in plans))
    for number, plan in enumerate(plans, 1):
        note(f"[{number}/{len(plans)}] {rows[number - 1]}")
        execute(plan)
    return [plan.out for plan in plans]


def _plan(shared: Request, row: str) -> Plan:
    plan = make_plan(replace(shared, method=row, out=None))
    base = shared.out or Path("runs")
    return replace(plan, request=replace(plan.request, out=base.joinpath(*plan.out.parts[1:])))


def _share(rows: Sequence[str], plans: Sequence[Plan]) -> list[Plan]:
    """Let twins read the label maps of the row they are the twin of, where that row comes before."""
    saved: dict[int, Plan] = {}
    shared = list(plans)
    for number, (row, plan) in enumerate(zip(rows, plans, strict=True)):
        if plan.selection.wrapper is None:
            continue
        base = row.replace(SIGN + plan.selection.wrapper.name, "")
        if base not in rows[:number]:
            continue
        source = rows.index(base)
        saved[source] = plans[source]
        shared[number] = replace(plan, request=replace(plan.request, label_maps=plans[source].out))
    for number, plan in saved.items():
        shared[number] = replace(plan, request=replace(plan.request, save_predictions=True))
    return shared
