"""Which method and variant a state dict belongs to: names and shapes against every network of the registry.

Networks are built on torch's meta device, where parameters have names and shapes but no memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ovbench.core.errors import OvbenchError, unknown
from ovbench.nn.checkpoint import modern_head_names

from .base import Segmenter
from .card import Card
from .create import create
from .options import show
from .registry import card as card_of
from .registry import cards

Shapes = Mapping[str, tuple[int, ...]]

_CLIP = ("clip_model.", "clip_visual_extractor.", "clip_rec_head.", "ov_classifier.")
"""What the methods with CLIP inside call it; it may come from a file of its own."""
_NO_CLIP = "holds no CLIP: --set clip_weights=FILE gives it"
_FILLS = {Tensor.normal_, Tensor.uniform_, Tensor.fill_, Tensor.zero_, Tensor.copy_}
_ENOUGH = 0.5  # share of the names below which a network is not worth mentioning


@dataclass(frozen=True)
class Fit:
    """How a state dict fits one network.

    `missing` and `left_over` are complete; where `loads`, the network does without the one and drops the other.
    """

    method: str
    variant: str
    profile: str
    matched: int
    missing: tuple[str, ...]
    left_over: tuple[str, ...]
    wrong: tuple[str, ...]  # "name (3, 4) instead of (3, 5)"
    loads: bool = False
    prefix: str = ""  # to be taken off all names first
    remark: str = ""
    also: tuple[str, ...] = ()  # "method:variant" of networks that it fits as well

    @property
    def share(self) -> float:
        """Part of all names, here and there, that are the same with the same shape."""
        return self.matched / max(1, self.matched + len(self.missing) + len(self.left_over) + len(self.wrong))

    @property
    def of_clip(self) -> tuple[str, ...]:
        """Those among the missing names that a file of CLIP's own has to give."""
        needed = self.loads and _NO_CLIP in self.remark
        return tuple(n for n in self.missing if needed and any(c in n for c in _CLIP))

    @property
    def name(self) -> str:
        """ "method:variant", as `--method` takes it."""
        return f"{self.method}:{self.variant}" if self.variant else self.method


def best_fits(
    state: Mapping[str, Tensor], header: Mapping[str, str], method: str = "", variant: str = ""
) -> list[Fit]:
    """The networks that a state dict fits, best first; equally good ones are one entry (`also`).

    Args:
        header: a safetensors file's metadata; a method and a variant named there are looked at first.
        method, variant: look at these alone.

    Returns:
        Fits that load, or if there are none, the nearest ones (at least half of the names shared).

    Raises:
        UserError: unknown method or variant.
    """
    bare = {name: torch.empty_like(value, device="meta") for name, value in state.items()}
    named = method or (header["method"] if header.get("method") in cards() else "")
    chosen = [card_of(named)] if named else [c for c in cards().values() if c.needs_weights]
    if variant and variant not in chosen[0].variants:
        raise unknown(f"variant of {method}", variant, chosen[0].variants)
    found: list[Fit] = []
    for card, first in _by_likeness(chosen, bare, header, variant):
        found += first
        if not (variant or _said(card, header)):
            found += _others(card, bare, first)
        if any(fit.loads for fit in found):
            break
    if not method and named and not any(fit.loads for fit in found):
        return best_fits(state, {})  # what the header says is not so
    near = [fit for fit in found if fit.share >= _ENOUGH or method]
    ranked = sorted(near, key=lambda fit: (not fit.loads, -fit.share))
    return _merged([fit for fit in ranked if (fit.loads, fit.share) == (ranked[0].loads, ranked[0].share)])


def _by_likeness(
    chosen: list[Card], state: Mapping[str, Tensor], header: Mapping[str, str], variant: str
) -> list[tuple[Card, list[Fit]]]:
    """Cards that share names with the file, nearest first, each with the fits of one variant per profile."""
    found = []
    for card in chosen:
        said = variant or _said(card, header)
        tried = [said] if said else _representatives(card)
        options = _options(card, header) if said else {}
        fits = [fit for name in tried if (fit := _fit(card, name, state, options)) is not None]
        if any(fit.share for fit in fits):
            found.append((card, fits))
    return sorted(found, key=lambda pair: -max(fit.share for fit in pair[1]))


def _representatives(card: Card) -> list[str]:
    """One variant of each profile, the default one first: networks of two profiles may share no name. Then the
    defaults of single data sets: small networks for the world share names with the large ones, but no shape."""
    order = sorted(card.variants, key=lambda v: v != card.default_variant) or [""]
    first: dict[Any, str] = {}
    for name in order:
        first.setdefault(_resolved(card, name).get("profile"), name)
    own = [name for name in card.default_variants.values() if name in card.variants]
    return list(dict.fromkeys([*first.values(), *own]))


def _said(card: Card, header: Mapping[str, str]) -> str:
    """The variant that the header names, "" without one."""
    said = header.get("variant", "") if header.get("method") == card.id else ""
    return said if said in card.variants else ""


def _others(card: Card, state: Mapping[str, Tensor], first: list[Fit]) -> Iterator[Fit]:
    """Fits of the card's other variants. Where a profile's network takes the file, another profile's cannot;
    rows of ablations are looked at last, when nothing else takes it."""
    profiles = {fit.profile for fit in first if fit.loads}
    done, loads = {fit.variant for fit in first}, bool(profiles)
    for ablated in (False, True):
        for name, variant in card.variants.items():
            profile = _resolved(card, name).get("profile", "")
            if name in done or bool(variant.ablation) != ablated or (profiles and profile not in profiles):
                continue
            if (fit := _fit(card, name, state, {})) is not None:
                loads = loads or fit.loads
                yield fit
        if loads:
            return


def segmenter_on_meta(method: str, variant: str, options: Mapping[str, Any] | None = None) -> Segmenter:
    """A method whose network has names and shapes and nothing else.

    Raises:
        UserError: unknown method or variant. Methods that cannot be built so raise what they like.
    """
    with torch.device("meta"), _Unfilled():
        return create(method, variant or None, device="meta", untrained=True, **(options or {}))


class _Unfilled(TorchFunctionMode):
    """Leaves out what constructors do to fill their parameters; on the meta device it takes time for nothing."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func in _FILLS and args[0].is_meta:
            return args[0]
        return func(*args, **(kwargs or {}))


def _options(card: Card, header: Mapping[str, str]) -> dict[str, Any]:
    """Options that the weights were trained with, from their header: sizes may differ from the variant's."""
    given: dict[str, Any] = {}
    for key in ("options", "config"):
        try:
            found = json.loads(header.get(key, "{}"))
        except ValueError:
            continue
        for k, v in found.items() if isinstance(found, dict) else ():
            if k in card.options and type(v) is type(card.options[k]) and not k.endswith("_weights"):
                given[k] = v
    return given


def _fit(card: Card, variant: str, state: Mapping[str, Tensor], options: Mapping[str, Any]) -> Fit | None:
    """How a variant fits; as trained, with the header's options, where it does not fit as it is."""
    plain = _fit_with(card, variant, state, {})
    usual = _resolved(card, variant)
    changed = {k: v for k, v in options.items() if v != usual[k]}
    if not changed or plain is None or plain.loads:
        return plain
    fit = _fit_with(card, variant, state, changed)
    if fit is None or not fit.loads:
        return plain
    needed = " ".join(f"--set {k}={show(v)}" for k, v in _needed(card, variant, state, changed).items())
    return replace(fit, remark="; ".join(part for part in (f"with {needed}", fit.remark) if part))


def _needed(
    card: Card, variant: str, state: Mapping[str, Tensor], changed: Mapping[str, Any]
) -> dict[str, Any]:
    """The changed options without which it does not fit."""
    needed = dict(changed)
    for key in changed:
        rest = {k: v for k, v in needed.items() if k != key}
        fit = _fit_with(card, variant, state, rest)
        if fit is not None and fit.loads:
            needed = rest
    return needed


def _fit_with(
    card: Card, variant: str, state: Mapping[str, Tensor], options: Mapping[str, Any]
) -> Fit | None:
    try:
        segmenter = segmenter_on_meta(card.id, variant, options)
        names: Shapes = segmenter.official_names()  # type: ignore[attr-defined]
    # A method without weights of its own, or one (of a plugin) whose constructor needs more than names: what
    # it raises then is not ours to know, and a file can be inspected all the same.
    except Exception:  # noqa: BLE001
        return None
    profile = str(_resolved(card, variant).get("profile", ""))
    tried = [_compare(card.id, variant, names, state, prefix) for prefix in _prefixes(state)]
    best = replace(max(tried, key=lambda fit: fit.share), profile=profile)
    return _asked(best, segmenter, state) if best.share >= _ENOUGH else best


def _resolved(card: Card, variant: str) -> dict[str, Any]:
    changed = card.variants[variant].options if variant in card.variants else {}
    return {**card.options, **changed}


def _prefixes(state: Mapping[str, Tensor]) -> list[str]:
    """Nothing, and the one or two parts that all names begin with ("model.", "model.net.")."""
    found, rest = [""], list(state)
    for _ in range(2):
        first = {name.partition(".")[0] for name in rest}
        if len(first) != 1 or any("." not in name for name in rest):
            break
        found.append(f"{found[-1]}{first.pop()}.")
        rest = [name.partition(".")[2] for name in rest]
    return found


def without(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The state with a prefix taken off all names."""
    return {name.removeprefix(prefix): value for name, value in state.items()}


def _compare(method: str, variant: str, names: Shapes, state: Mapping[str, Tensor], prefix: str) -> Fit:
    held = without(state, prefix)
    renamed = modern_head_names(held)
    if sum(n in names for n in renamed) > sum(n in names for n in held):
        held = renamed
    shared = [n for n in names if n in held]
    wrong = [
        f"{n} {tuple(held[n].shape)} instead of {tuple(names[n])}"
        for n in shared
        if tuple(held[n].shape) != tuple(names[n])
    ]
    missing = tuple(n for n in names if n not in held)
    left_over = tuple(n for n in held if n not in names)
    matched = len(shared) - len(wrong)
    return Fit(method, variant, "", matched, missing, left_over, tuple(wrong), prefix=prefix)


def _asked(fit: Fit, segmenter: Segmenter, state: Mapping[str, Tensor]) -> Fit:
    """Whether the network takes the state, in its own words."""
    try:
        with torch.device("meta"):
            segmenter.load_official(without(state, fit.prefix))  # type: ignore[attr-defined]
    except OvbenchError as error:
        return replace(fit, remark=error.what)
    return replace(fit, loads=True, remark=_NO_CLIP if segmenter.untrained else "")


def _merged(fits: list[Fit]) -> list[Fit]:
    """One entry for networks that are the same to the file."""
    groups: dict[tuple[Any, ...], list[Fit]] = {}
    for fit in fits:
        groups.setdefault((fit.method, fit.missing, fit.left_over, fit.wrong, fit.profile), []).append(fit)
    merged = [replace(g[0], also=tuple(f.name for f in g[1:])) for g in groups.values()]
    return [fit for fit in merged if cards()[fit.method].kind != "control"] or merged
