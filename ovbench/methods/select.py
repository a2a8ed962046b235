"""From a method's name, variant, options and weights to one resolved choice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ovbench.core.errors import UserError, unknown
from ovbench.core.hashing import hash_file
from ovbench.protocol.schema import Protocol

from .card import Card, ShippedWeights
from .options import resolve_options
from .registry import card as card_of
from .wrappers import SIGN, WRAPPERS, Wrapper, split_wrapper


@dataclass(frozen=True)
class Selection:
    """A method with everything decided: what a `Setup` and a manifest are made from."""

    card: Card
    variant: str
    given: Mapping[str, Any]  # as asked for
    options: Mapping[str, Any]  # defaults, then the variant's, then `given`
    weights: Path | None
    weights_name: str | None  # None: no weights
    shipped: bool
    untrained: bool
    wrapper_name: str | None = None  # what is done to its label maps: see `wrapper`

    @property
    def wrapper(self) -> Wrapper | None:
        """What is done to the method's label maps; None: nothing."""
        return WRAPPERS[self.wrapper_name] if self.wrapper_name else None

    @property
    def id(self) -> str:
        """The method's name, with "+vote" or "+flow" where it is wrapped."""
        return f"{self.card.id}{SIGN}{self.wrapper_name}" if self.wrapper_name else self.card.id

    @property
    def method_options(self) -> dict[str, Any]:
        """The options without those of the wrapper."""
        return {k: v for k, v in self.options.items() if k in self.card.options}

    @cached_property
    def weights_sha256(self) -> str | None:
        """SHA-256 of the weights file, None without weights."""
        return None if self.weights is None else hash_file(self.weights)

    @cached_property
    def beside_sha256(self) -> dict[str, str | None]:
        """SHA-256 of the files that the card names beside the weights, None for one that is not there."""
        if self.weights is None:
            return {}
        files = {name: self.weights.parent / name for name in self.card.beside}
        return {name: hash_file(path) if path.is_file() else None for name, path in files.items()}


def select(
    name: str,
    variant: str | None = None,
    given: Mapping[str, Any] | None = None,
    weights: str | Path | None = None,
    untrained: bool | None = False,
    protocol: Protocol | None = None,
) -> Selection:
    """Resolve a method.

    Args:
        name: `method`, `method+vote` or `method+flow`, each with or without `:variant`.
        untrained: True: name-seeded weights; False: refuse without weights; None: use weights
            where there are any, name-seeded ones otherwise.

    Raises:
        UserError: unknown method, wrapper, variant or option; no weights (the message names the file and where
            it is published); weights for a method that takes none.
    """
    name, variant = _split_variant(name, variant)
    base, wrapper = split_wrapper(name)
    card = card_of(base)
    variant = _variant(card, variant, protocol)
    given = dict(given or {})
    defaults = {**card.options, **(wrapper.options if wrapper else {})}
    choices = {**card.choices, **(wrapper.choices if wrapper else {})}
    changed = card.variants[variant].options if variant else {}
    resolved = resolve_options(name, {**defaults, **changed}, choices, given)
    if wrapper:
        wrapper.check(resolved)
    path, label, shipped, seeded = _weights(card, variant, weights, untrained, protocol)
    around = wrapper.name if wrapper else None
    return Selection(card, variant, given, resolved, path, label, shipped, seeded, around)


def _split_variant(name: str, variant: str | None) -> tuple[str, str | None]:
    base, sign, tail = name.partition(":")
    if not sign:
        return name, variant
    tail, plus, wrapper = tail.partition("+")  # "method:variant+vote" and "method+vote:variant"
    if variant is not None and variant != tail:
        raise UserError(f"two variants are named: '{tail}' and '{variant}'", where=name)
    return base + plus + wrapper, tail


def _variant(card: Card, variant: str | None, protocol: Protocol | None) -> str:
    if variant is None:
        if protocol is None:
            return card.variant_for()
        return card.variant_for(protocol.id, protocol.dataset.name)
    if variant not in card.variants:
        raise unknown(f"variant of {card.id}", variant, card.variants)
    return variant


_Found = tuple[Path | None, str | None, bool, bool]


def _weights(
    card: Card, variant: str, weights: str | Path | None, untrained: bool | None, protocol: Protocol | None
) -> _Found:
    name = None if weights is None or Path(weights).exists() else str(weights)
    shipped = shipped_weights(card, variant, protocol, name)
    if weights is not None and (name is None or shipped is None or untrained):
        return _given_weights(card, variant, Path(weights), untrained)
    if untrained:
        return None, None, False, card.needs_weights
    if shipped is not None:
        if not shipped.file.is_file():
            raise UserError(
                "weights that should come with this installation are missing",
                where=shipped.file,
                hint="install ovbench again, or give a file with --weights",
            )
        return shipped.file, shipped.name, True, False
    if not card.needs_weights or untrained is None:
        return None, None, False, card.needs_weights
    raise _no_weights(card, variant, protocol)


def _given_weights(card: Card, variant: str, path: Path, untrained: bool | None) -> _Found:
    if untrained:
        raise UserError("weights were given, and untrained ones asked for: choose one", where=path)
    if not (card.needs_weights or card.weights):
        raise UserError(f"method '{card.id}' takes no weights", where=path, hint="leave --weights out")
    if not path.is_file():
        shipped = ", ".join(entry.name for entry in card.weights if entry.variant == variant)
        hint = f"shipped weights go by name: {shipped}" if shipped else None
        raise UserError("there is no weights file here", where=path, hint=hint)
    return path, path.name, False, False


def shipped_weights(
    card: Card, variant: str, protocol: Protocol | None, name: str | None = None
) -> ShippedWeights | None:
    """The first weights of the card that fit the variant and the protocol (None: any protocol).

    Args:
        name: one of the names that the card gives its weights ("seed1"); None: any. Weights that are asked
            for by name are taken for any protocol.
    """
    for entry in card.weights:
        anywhere = protocol is None or not entry.protocols or name is not None
        fits = anywhere or (protocol is not None and protocol.id in entry.protocols)
        if entry.variant == variant and fits and name in (None, entry.name):
            return entry
    return None


def _trainable(card: Card, variant: str, protocol: Protocol | None) -> bool:
    """Whether training is worth offering.

    The protocol must have a split and classes to train on. A trainer from another folder than the
    segmenter trains what this variant is made for, hence on the data set that the card names it for.
    """
    if protocol is not None and not (protocol.dataset.train_split and protocol.groups["seen"]):
        return False
    if variant in card.variants and not card.variants[variant].trainable:
        return False
    if _package(card.trainer) == _package(card.segmenter):
        return bool(card.trainer)
    return protocol is not None and card.default_variants.get(protocol.dataset.name) == variant


def trained_variants(card: Card) -> list[str]:
    """The variants, those of ablations aside, that the card's trainer trains on some data set."""
    if not card.trainer:
        return []
    named = [v.name for v in card.variants.values() if not v.ablation and v.trainable]
    if _package(card.trainer) != _package(card.segmenter):
        named = [name for name in named if name in card.default_variants.values()]
    return named


def _package(target: str) -> str:
    return target.partition(":")[0].rpartition(".")[0]


def how_to_train(card: Card, variant: str, protocol: Protocol | None) -> str | None:
    """The command that trains a variant for a protocol; None where training it there is not offered."""
    return _training_command(card, variant, protocol) if _trainable(card, variant, protocol) else None


def _training_command(card: Card, variant: str, protocol: Protocol | None) -> str:
    """The command that trains this very variant."""
    command = f"ovbench train --method {card.id} --protocol {protocol.id if protocol else 'P'}"
    usual = card.variant_for(protocol.id, protocol.dataset.name) if protocol else card.variant_for()
    if variant and variant != usual:
        command += f" --variant {variant}"
    if protocol is None or protocol.dataset.name != "world":
        command += " --data-root DIR"
    return command


def _no_weights(card: Card, variant: str, protocol: Protocol | None) -> UserError:
    official = card.official_for(variant)
    name = f"{card.id} ({variant})" if variant else card.id
    lines = [f"give a weights file with --weights; expected: {official.file or 'see its card'}"]
    if official.source:
        lines.append(f"published at: {official.source}")
    if official.note:
        lines.append(official.note)
    if training := how_to_train(card, variant, protocol):
        lines.append(f"or train it: {training}")
    lines.append("or run it with name-seeded weights, marked in every output: --untrained")
    suits = f" for protocol '{protocol.id}'" if protocol else ""
    return UserError(f"no weights of {name} are shipped{suits}", hint="\n         ".join(lines))
