"""Method cards: what a method is, as data (`baselines/<folder>/method.toml`), checked when read."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ovbench.core.errors import UserError, unknown
from ovbench.core.paths import check_id

from .ablations import Ablations, read_ablations

KINDS = ("control", "image", "video")
_TEXTS = (
    "id",
    "title",
    "summary",
    "paper",
    "code",
    "licence",
    "kind",
    "segmenter",
    "trainer",
    "default_variant",
    "backbone",
)
_LISTS = ("trained_on", "needs", "beside")
_FLAGS = ("needs_weights", "needs_truth", "needs_train_split")
_TABLES = ("options", "choices", "variants", "default_variants", "official", "weights", "ablations")
_INHERITED = (
    "segmenter",
    "trainer",
    "needs",
    "needs_weights",
    "beside",
    "paper",
    "code",
    "licence",
    "official",
    "backbone",
)
_VARIANT = ("description", "base", "options", "official", "backbone", "trained_on", "remark", "trainable")
_OF_THE_BASE = ("backbone", "trained_on", "remark", "trainable")
_OFFICIAL = ("file", "source", "note", "option")
_REQUIRED = ("id", "title", "kind", "segmenter")


@dataclass(frozen=True)
class ShippedWeights:
    """Weights that come with the method. `protocols` empty: they fit every protocol."""

    variant: str
    protocols: tuple[str, ...]
    file: Path
    name: str


@dataclass(frozen=True)
class Official:
    """What a user must obtain when nothing is shipped. `option`: takes a second file that it needs."""

    file: str = ""
    source: str = ""
    note: str = ""
    option: str = ""


@dataclass(frozen=True)
class Variant:
    """A named configuration: options that replace the card's defaults.

    `ablation`: the row of an ablation table that it is, or "". `backbone`, `trained_on`: where they differ from
    the card's; `remark`: what tables must say below its numbers. Facts that nothing is computed from.
    `trainable`: False where the card's trainer refuses it.
    """

    name: str
    description: str
    options: Mapping[str, Any]
    official: Official | None = None
    ablation: str = ""
    backbone: str = ""
    trained_on: tuple[str, ...] = ()
    remark: str = ""
    trainable: bool = True


@dataclass(frozen=True)
class Card:
    """One method. Options are typed by their default values.

    `beside`: names of files that are read from the folder of the weights and decide what is computed, as the
    weights do.
    """

    id: str
    title: str
    kind: str
    segmenter: str
    folder: Path
    summary: str = ""
    paper: str = ""
    code: str = ""
    licence: str = ""
    trainer: str = ""
    trained_on: tuple[str, ...] = ()
    backbone: str = ""
    needs: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    needs_weights: bool = False
    needs_truth: bool = False
    needs_train_split: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    choices: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    variants: Mapping[str, Variant] = field(default_factory=dict)
    default_variant: str = ""
    default_variants: Mapping[str, str] = field(default_factory=dict)
    weights: tuple[ShippedWeights, ...] = ()
    official: Official = Official()
    ablations: Ablations | None = None

    def variant_for(self, protocol_id: str | None = None, dataset: str | None = None) -> str:
        """The variant used when none is named: by protocol, by data set, else the card's default."""
        for key in (protocol_id, dataset):
            if key is not None and key in self.default_variants:
                return self.default_variants[key]
        return self.default_variant

    def trained_on_for(self, variant: str) -> tuple[str, ...]:
        """What a variant's weights were trained on."""
        stated = self.variants[variant].trained_on if variant in self.variants else ()
        return stated or self.trained_on

    def official_for(self, variant: str) -> Official:
        """What to obtain for a variant."""
        found = self.variants[variant].official if variant in self.variants else None
        return found or self.official


def read_card(path: Path) -> Card:
    """Read a card; raises `UserError` naming file, key and what is allowed.

    A card that says `like = "../other/method.toml"` starts from that card's segmenter, trainer, options,
    choices and variants, and states what differs.
    """
    raw = _raw(path)
    known = (*_TEXTS, *_LISTS, *_FLAGS, *_TABLES)
    for key in raw:
        if key not in known:
            raise unknown("key", key, known, where=path)
    for key in _REQUIRED:
        if not raw.get(key):
            raise _wrong(path, key, "is missing")
    fields: dict[str, Any] = {k: _typed(raw, k, str, path) for k in _TEXTS if k in raw}
    fields |= {k: _typed(raw, k, bool, path) for k in _FLAGS if k in raw}
    fields |= {k: _strings(raw[k], k, path) for k in _LISTS if k in raw}
    if fields["kind"] not in KINDS:
        raise unknown("kind", fields["kind"], KINDS, where=f"{path}, key 'kind'")
    check_id("method", fields["id"])
    for name in fields.get("beside", ()):
        if Path(name).name != name or name in ("", ".."):
            raise _wrong(path, "beside", f"names files in the folder of the weights; '{name}' is none")
    return _with_tables(fields, raw, path)


def _raw(path: Path) -> dict[str, Any]:
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"the method card cannot be read: {error}", where=path) from error
    if "like" not in raw:
        return raw
    parent = _raw(path.parent / str(raw.pop("like")))
    merged = {k: parent[k] for k in _INHERITED if k in parent} | raw
    for key in ("options", "choices", "variants"):
        merged[key] = {**parent.get(key, {}), **raw.get(key, {})}
    return merged


def _with_tables(fields: dict[str, Any], raw: Mapping[str, Any], path: Path) -> Card:
    options = dict(_typed(raw, "options", dict, path)) if "options" in raw else {}
    fields["options"] = options
    fields["choices"] = _choices(raw.get("choices", {}), options, path)
    variants = raw.get("variants", {})
    fields["variants"] = {n: _variant(n, v, variants, options, path) for n, v in variants.items()}
    if "ablations" in raw:
        fields["ablations"] = read_ablations(raw["ablations"], fields["variants"], options, path)
        fields["variants"] |= _of_ablations(fields["ablations"], fields["variants"], path)
    fields["default_variants"] = dict(raw.get("default_variants", {}))
    fields["official"] = _official(raw.get("official", {}), "official", path)
    card = Card(folder=path.parent, **fields)
    named = [*card.default_variants.values(), *([card.default_variant] if card.default_variant else [])]
    for name in named:
        if name not in card.variants:
            raise unknown("variant", name, card.variants, where=path)
    weights = tuple(_weights(w, card, path) for w in raw.get("weights", ()))
    return Card(**{**card.__dict__, "weights": weights})


def _choices(raw: Any, options: Mapping[str, Any], path: Path) -> dict[str, tuple[Any, ...]]:
    for key, allowed in raw.items():
        if key not in options:
            raise unknown("option", key, options, where=f"{path}, [choices]")
        if not isinstance(allowed, list) or not allowed:
            raise _wrong(path, f"choices.{key}", "must be a list of allowed values")
        if options[key] not in allowed:
            raise _wrong(path, f"options.{key}", f"default {options[key]!r} is not among {allowed}")
    return {k: tuple(v) for k, v in raw.items()}


def _variant(
    name: str, raw: Any, variants: Mapping[str, Any], options: Mapping[str, Any], path: Path
) -> Variant:
    where = f"{path}, [variants.{name}]"
    if not isinstance(raw, dict):
        raise _wrong(path, f"variants.{name}", "must be a table")
    for key in raw:
        if key not in _VARIANT:
            raise unknown("key", key, _VARIANT, where=where)
    changes = dict(raw.get("options", {}))
    if "base" in raw:  # a variant of a variant: that one's options, then its own
        if raw["base"] == name or raw["base"] not in variants:
            raise unknown("variant", str(raw["base"]), [v for v in variants if v != name], where=where)
        base = variants[raw["base"]]
        changes = {**base.get("options", {}), **changes}
        raw = {**{key: base[key] for key in _OF_THE_BASE if key in base}, **raw}
    for key in changes:
        if key not in options:
            raise unknown("option", key, options, where=where)
    if not isinstance(raw.get("trainable", True), bool):
        raise _wrong(path, f"variants.{name}.trainable", "must be true or false")
    official = _official(raw["official"], f"variants.{name}.official", path) if "official" in raw else None
    return Variant(
        name=check_id("variant", name),
        description=str(raw.get("description", "")),
        options=changes,
        official=official,
        backbone=str(raw.get("backbone", "")),
        trained_on=_strings(raw.get("trained_on", []), f"variants.{name}.trained_on", path),
        remark=str(raw.get("remark", "")),
        trainable=raw.get("trainable", True),
    )


def _of_ablations(ablations: Ablations, variants: Mapping[str, Variant], path: Path) -> dict[str, Variant]:
    """Each row at each size as a variant: the size's options, then the row's."""
    found = {}
    for size in ablations.variants:
        for row in ablations.rows.values():
            name = check_id("variant", ablations.variant(size, row.name))
            if name in variants:
                raise _wrong(path, f"variants.{name}", "is also the name of an ablation's row")
            options = {**variants[size].options, **row.options}
            found[name] = replace(
                variants[size], name=name, description=row.description, options=options, ablation=row.name
            )
    return found


def _official(raw: Any, key: str, path: Path) -> Official:
    if not isinstance(raw, dict) or not all(isinstance(v, str) for v in raw.values()):
        raise _wrong(path, key, f"must be a table of texts ({', '.join(_OFFICIAL)})")
    for name in raw:
        if name not in _OFFICIAL:
            raise unknown("key", name, _OFFICIAL, where=f"{path}, [{key}]")
    return Official(**raw)


def _weights(raw: Any, card: Card, path: Path) -> ShippedWeights:
    where = f"{path}, [[weights]]"
    if not isinstance(raw, dict) or "file" not in raw:
        raise _wrong(path, "weights", "each entry needs a 'file'")
    for key in raw:
        if key not in ("variant", "protocols", "file", "name"):
            raise unknown("key", key, ("variant", "protocols", "file", "name"), where=where)
    variant = str(raw.get("variant", card.default_variant))
    if variant and variant not in card.variants:
        raise unknown("variant", variant, card.variants, where=where)
    file = path.parent / str(raw["file"])
    name = str(raw.get("name", file.stem))
    return ShippedWeights(variant, _strings(raw.get("protocols", []), "weights.protocols", path), file, name)


def _typed(raw: Mapping[str, Any], key: str, kind: type, path: Path) -> Any:
    if not isinstance(raw[key], kind):
        raise _wrong(path, key, f"must be {kind.__name__}, not {type(raw[key]).__name__}")
    return raw[key]


def _strings(value: Any, key: str, path: Path) -> tuple[str, ...]:
    if (
        not isinstance(value, Sequence)
        or isinstance(value, str)
        or not all(isinstance(v, str) for v in value)
    ):
        raise _wrong(path, key, "must be a list of texts")
    return tuple(value)


def _wrong(path: Path, key: str, problem: str) -> UserError:
    return UserError(f"method card: '{key}' {problem}", where=path)
