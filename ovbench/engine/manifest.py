"""The manifest of a run: written before any work, extended when a run is taken up again."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ovbench.core.errors import UserError
from ovbench.core.hashing import hash_json
from ovbench.store.manifest import public_command, public_path
from ovbench.store.rundir import FORMAT, RunDir

from .environment import git_state, gpu_name, hardware, versions
from .plan import Plan, public_options


def method_facts(plan: Plan) -> dict[str, Any]:
    """What a summary says about its method."""
    selection = plan.selection
    facts: dict[str, Any] = {
        "id": selection.id,
        "title": selection.card.title + (f" + {selection.wrapper.name}" if selection.wrapper else ""),
        "kind": selection.card.kind,
        "variant": selection.variant,
        "options": public_options(selection.options),
        "weights": selection.weights_name,
        "weights_sha256": selection.weights_sha256,
        "untrained": selection.untrained,
        "trained_on": list(selection.card.trained_on_for(selection.variant)),
    }
    if selection.card.id == "predictions":
        folder = facts["options"].pop("folder", "")
        facts["source"] = plan.request.name or folder
        path = Path(selection.options["folder"]).resolve()
        facts["folder"] = f"{path.parent.name}/{path.name}" if path.name == "predictions" else folder
    return facts


def check(run: RunDir, plan: Plan, *, cleared: bool = False) -> Mapping[str, Any] | None:
    """The manifest that lies here, of the same run, or None where there is none.

    Args:
        cleared: a run has just been deleted here; what else lies in the folder may stay.

    Raises:
        UserError: the folder holds another run (the message says what differs), or files of
            somebody else.
        IntegrityError: there is no manifest, and a record that lies here is damaged.
    """
    old = run.manifest() if run.has_manifest() else None
    if old is not None:
        check_same_run(run, old, plan)
    elif not cleared:
        _check_unused(run, plan)
    return old


def begin(run: RunDir, plan: Plan, old: Mapping[str, Any] | None) -> None:
    """Write the manifest; `old` is the one that `check` has found, which it extends."""
    manifest = _manifest(plan)
    if old is not None:
        manifest["sessions"] = [*old.get("sessions", []), *manifest["sessions"]]
        manifest["facts"] = old.get("facts")
        manifest["created"] = old.get("created", manifest["created"])
    run.write_manifest(manifest)


def data_id(plan: Plan) -> str | None:
    """Tells one data root from another without saying where it lies; None for the world, which has none."""
    root = plan.request.data_root
    if root is None or plan.protocol.dataset.name == "world":
        return None
    return hash_json(str(root.expanduser().resolve()))[:16]


def add_facts(run: RunDir, facts: Mapping[str, Any]) -> None:
    """Put what the method says about itself into the manifest."""
    manifest = run.manifest()
    if manifest.get("facts") != facts:
        run.write_manifest({**manifest, "facts": dict(facts)})


def check_same_run(run: RunDir, old: Mapping[str, Any], plan: Plan) -> None:
    """Raise `UserError` unless the manifest `old` has the plan's run key."""
    if old.get("run_key") == plan.run_key:
        return
    before, now = old.get("key", {}), plan.key_parts
    differs = sorted(k for k in {*before, *now} if before.get(k) != now.get(k))
    raise UserError(
        f"this is the output folder of another run; what differs: {', '.join(differs) or 'the manifest'}",
        where=run.path,
        hint="give another folder with --out, or --fresh to delete that run and begin anew",
    )


def _check_unused(run: RunDir, plan: Plan) -> None:
    """Refuse what is not ours; records of this very run are ours even where the manifest was lost."""
    others = [v for v in sorted(run.finished()) if not _is_of(run, v, plan)]
    if others:
        raise UserError(
            f"the output folder holds {len(others)} records of another run, and no manifest",
            where=run.record_path(others[0]),
            hint="--fresh deletes them; or give another folder with --out",
        )
    foreign = run.foreign()
    if foreign:
        raise UserError(
            f"the output folder holds other files: {', '.join(foreign[:5])}",
            where=run.path,
            hint="give an empty or new folder with --out",
        )


def _is_of(run: RunDir, video_id: str, plan: Plan) -> bool:
    record = run.record(video_id)
    return record is not None and record.run_key == plan.run_key


def _reused(plan: Plan) -> dict[str, Any]:
    """Whose label maps a session took instead of computing them."""
    source = plan.request.label_maps
    return {} if source is None else {"label_maps_of": RunDir(source).manifest().get("run_key")}


def _manifest(plan: Plan) -> dict[str, Any]:
    request, protocol, selection = plan.request, plan.protocol, plan.selection
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    root = None if request.data_root is None else public_path(request.data_root)
    return {
        "format": FORMAT,
        "run_key": plan.run_key,
        "key": dict(plan.key_parts),
        "created": now,
        "protocol": {"id": protocol.id, "version": protocol.version, "hash": protocol.hash},
        "vocabulary": {
            "names": len(protocol.vocabulary),
            "hash": protocol.vocabulary.hash,
            "templates": protocol.template_set,
            "templates_hash": protocol.vocabulary.templates_hash,
        },
        "method": method_facts(plan),
        "options": {"given": public_options(selection.given), "resolved": public_options(selection.options)},
        "weights": {
            "file": None if selection.weights is None else selection.weights.name,
            "sha256": selection.weights_sha256,
            "shipped": selection.shipped,
            **({"beside": selection.beside_sha256} if selection.beside_sha256 else {}),
        },
        "untrained": selection.untrained,
        "partial": plan.partial,
        "data": {
            "dataset": protocol.dataset.name,
            "split": protocol.dataset.split,
            "root": root,
            "root_id": data_id(plan),
        },
        "videos": list(plan.video_ids),
        "frames": request.frames,
        "device": plan.device,
        "threads": request.threads,
        "versions": versions(),
        "git": git_state(),
        "hardware": {**hardware(), "gpu": gpu_name(plan.device)},
        "sessions": [
            {"started": now, "command": public_command(request.command), "jobs": plan.jobs, **_reused(plan)}
        ],
        "facts": None,
    }
