"""What a manifest states about its run, held against its run key, its protocol and the card of its method."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ovbench.core.errors import IntegrityError, UserError
from ovbench.core.hashing import hash_file, hash_json
from ovbench.engine.plan import public_options
from ovbench.methods.card import Card
from ovbench.methods.options import resolve_options
from ovbench.methods.registry import card as card_of
from ovbench.methods.wrappers import SIGN, WRAPPERS, Wrapper
from ovbench.protocol.schema import Protocol

from .model import Run

HERE = "differs from this installation's card"
_SCORED = "predictions"  # label maps on disk: the folder is an option that the facts leave out


def check_key(run: Run) -> None:
    """That the run key is the hash of its parts, and that the manifest says nothing else than they do.

    Raises:
        IntegrityError: naming the first statement that differs, and what it should be.
    """
    manifest = run.manifest
    parts, key = manifest.get("key"), manifest.get("run_key")
    if not isinstance(parts, Mapping) or hash_json(parts) != key:
        raise IntegrityError(
            "the run key is not the hash of what the manifest says it was made from",
            where=run.path / "manifest.json",
            hint="somebody has edited the manifest",
        )
    for what, stated, true in _by_key(manifest, parts):
        agree(run.path, what, stated, true)


def check_statements(run: Run, protocol: Protocol) -> str | None:
    """Compare a manifest whose key has been checked with its protocol and the card of its method.

    Returns:
        What could not be checked, in words; None where everything was.

    Raises:
        IntegrityError: naming the first statement that differs, and what it should be.
    """
    manifest = run.manifest
    for what, stated, true in _by_protocol(manifest, protocol):
        agree(run.path, what, stated, true)
    for command in _commands(manifest, run.path / "manifest.json"):
        _check_command(run, command)
    base, _, around = str(run.method["id"]).partition(SIGN)
    try:
        card = card_of(base)
    except UserError:
        return f"no card of method '{base}' is here: kind, title, training data and options are not checked"
    if around and around not in WRAPPERS:
        return f"no wrapper '{around}' is here: title and options are not checked"
    _check_card(run, card, WRAPPERS.get(around), manifest["key"])
    return None


def agree(where: object, what: str, stated: Any, true: Any, hint: str | None = None) -> None:
    """Raise `IntegrityError` at the first of the names in `true` for which `stated` says something else."""
    stated = stated if isinstance(stated, Mapping) else {}
    for name in sorted(true):
        theirs, ours = stated.get(name), true[name]
        if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
            agree(where, f"{what} ({name})", theirs, {**dict.fromkeys(theirs), **ours}, hint)
        elif theirs != ours or type(theirs) is not type(ours):
            raise IntegrityError(
                f"{what} that {name} is {_short(theirs)}; it is {_short(ours)}", where=where, hint=hint
            )


def _by_key(manifest: Mapping[str, Any], parts: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """(words, what is stated, what the key says) of all that the run key covers."""
    method = manifest["method"]
    weights, untrained = parts.get("weights"), parts.get("untrained")
    facts = {"id": parts.get("method"), "variant": parts.get("variant"), "weights_sha256": weights}
    yield "the manifest says of the method", method, {**facts, "untrained": untrained}
    yield "the manifest says of the protocol", manifest["protocol"], {"hash": parts.get("protocol")}
    names = ("frames", "threads", "device")
    yield (
        "the manifest says, other than its key,",
        manifest,
        {"untrained": untrained, **{name: parts.get(name) for name in names}},
    )
    stated = manifest.get("weights") or {}
    beside = {"beside": parts.get("beside")} if {"beside"} & {*parts, *stated} else {}
    yield "the manifest says of the weights", stated, {"sha256": weights, **beside}
    yield "the manifest says of the vocabulary", manifest.get("vocabulary"), {"hash": parts.get("vocabulary")}
    versions = {"ovbench": parts.get("ovbench")}
    if parts.get("torch") is not None:
        versions["torch"] = parts["torch"]
    yield "the manifest says of the versions", manifest.get("versions"), versions
    options = parts.get("options")
    options = dict(options) if isinstance(options, Mapping) else {}
    resolved = (manifest.get("options") or {}).get("resolved") or {}
    yield "the manifest says of the options", {"resolved": resolved}, {"resolved": options}
    shown = {k: v for k, v in options.items() if k != "folder" or method["id"] != _SCORED}
    yield "the manifest says of the method", method, {"options": shown}


def _by_protocol(manifest: Mapping[str, Any], protocol: Protocol) -> Iterator[tuple[str, Any, Any]]:
    words = protocol.vocabulary
    about = {"id": protocol.id, "version": protocol.version, "hash": protocol.hash}
    yield "the manifest says of the protocol", manifest["protocol"], about
    names = {"names": len(words), "hash": words.hash, "templates": protocol.template_set}
    names["templates_hash"] = words.templates_hash
    yield "the manifest says of the vocabulary", manifest.get("vocabulary"), names
    data = {"dataset": protocol.dataset.name, "split": protocol.dataset.split}
    yield "the manifest says of the data", manifest.get("data"), data


def _check_card(run: Run, card: Card, wrapper: Wrapper | None, parts: Mapping[str, Any]) -> None:
    title = card.title + (f" + {wrapper.name}" if wrapper else "")
    trained = [list(card.trained_on_for(str(run.method.get("variant") or ""))), list(card.trained_on)]
    stated = run.method.get("trained_on")  # of the variant, or in older manifests of the card as a whole
    facts = {"title": title, "kind": card.kind, "trained_on": stated if stated in trained else trained[0]}
    agree(run.path, f"{HERE}: the manifest says of method '{card.id}'", run.method, facts)
    _check_options(run, card, wrapper)
    _check_weights(run, card, parts)


def _check_options(run: Run, card: Card, wrapper: Wrapper | None) -> None:
    """That the options are the card's, with those that the manifest says were set by hand; tables name these."""
    options, variant = run.manifest.get("options") or {}, str(run.method.get("variant") or "")
    given, resolved = options.get("given") or {}, options.get("resolved") or {}
    if variant and variant not in card.variants:
        raise IntegrityError(f"{HERE}: method '{card.id}' has no variant '{variant}'", where=run.path)
    around = wrapper.options if wrapper else {}
    defaults = {**card.options, **around, **(card.variants[variant].options if variant else {})}
    choices = {**card.choices, **(wrapper.choices if wrapper else {})}
    try:
        ours = resolve_options(str(run.method["id"]), defaults, choices, given)
    except UserError as error:
        raise IntegrityError(f"{HERE}: {error.what}", where=run.path) from error
    true = json.loads(json.dumps(public_options({k: v for k, v in ours.items() if k in resolved})))
    foreign = sorted(set(resolved) - set(true))
    if foreign:
        raise IntegrityError(f"{HERE}: method '{card.id}' has no option '{foreign[0]}'", where=run.path)
    what = f"{HERE}, or was set by hand and is not under `given`: the manifest says of the options"
    agree(run.path, what, resolved, {k: v for k, v in true.items() if not _by_folder(card, k)})


def _by_folder(card: Card, option: str) -> bool:
    return card.id == _SCORED and option == "folder"


def _check_weights(run: Run, card: Card, parts: Mapping[str, Any]) -> None:
    """Their name: that of weights of the card, where they are said to be shipped, else their file's."""
    stated, name = run.manifest.get("weights") or {}, run.method.get("weights")
    sha256, shipped = parts.get("weights"), stated.get("shipped")
    file = None if sha256 is None else stated.get("file")
    what = "the manifest says of the weights"
    if shipped is not True or sha256 is None:
        agree(run.path, what, {**stated, "name": name}, {"file": file, "name": file, "shipped": False})
        if sha256 is None and card.needs_weights and parts.get("untrained") is not True:
            raise IntegrityError(
                f"{HERE}: method '{card.id}' needs weights; this run has none and calls itself trained",
                where=run.path,
            )
        return
    for entry in card.weights:
        if entry.variant == run.method.get("variant") and entry.name == name:
            agree(run.path, f"{HERE}: {what}", stated, _facts(entry.file))
            return
    raise IntegrityError(f"{HERE}: it comes with no weights called {_short(name)}", where=run.path)


def _facts(file: Path) -> dict[str, str]:
    there = {"sha256": hash_file(file)} if file.is_file() else {}
    return {"file": file.name, **there}


def _commands(manifest: Mapping[str, Any], where: object) -> Iterator[list[str]]:
    """The commands of `ovbench run` by which a run was made; those of other verbs and of Python name no method."""
    for session in manifest.get("sessions") or [None]:  # a run has one at least
        command = session.get("command") if isinstance(session, Mapping) else None
        if not isinstance(command, list) or not all(isinstance(word, str) for word in command):
            raise IntegrityError("the manifest's sessions are not as we write them", where=where)
        if command[:2] == ["ovbench", "run"]:
            yield command


def _check_command(run: Run, command: list[str]) -> None:
    method, protocol = _value(command, "--method"), _value(command, "--protocol")
    if method is not None:
        said = _named(method, _value(command, "--variant"))
        what = "the command in the manifest's sessions does not fit: it says of the method"
        agree(run.path, what, said, {k: run.method.get(k) for k in said})
    if protocol is not None and not protocol.endswith(".toml"):
        what = "the command in the manifest's sessions does not fit: it says of the protocol"
        agree(run.path, what, {"id": protocol}, {"id": run.protocol["id"]})


def _named(method: str, variant: str | None) -> dict[str, str]:
    """Id and variant of "method:variant+wrapper" and "method+wrapper:variant"."""
    base, _, tail = method.partition(":")
    tail, sign, wrapper = tail.partition(SIGN)
    variant = tail or variant
    return {"id": base + sign + wrapper, **({} if variant is None else {"variant": variant})}


def _value(command: list[str], option: str) -> str | None:
    for index, word in enumerate(command):
        if word == option and index + 1 < len(command):
            return command[index + 1]
        if word.startswith(f"{option}="):
            return word.partition("=")[2]
    return None


def _short(value: Any) -> str:
    return "missing" if value is None else repr(value)[:60]
