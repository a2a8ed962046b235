"""`ovbench methods`: list the methods, or explain one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ovbench.methods.card import Card


@click.group(invoke_without_command=True)
@click.pass_context
def command(context: click.Context) -> None:
    """List the methods; `ovbench methods show ID` explains one."""
    if context.invoked_subcommand is None:
        from ovbench.methods.registry import cards

        click.echo(list_text(list(cards().values())))


@command.command()
@click.argument("method")
def show(method: str) -> None:
    """Explain one method: variants, options, weights."""
    from ovbench.methods.registry import card

    click.echo(card_text(card(method.partition("+")[0].partition(":")[0])))


def list_text(cards: list[Card]) -> str:
    """One line per method: id, kind, what it needs, for which protocols weights are shipped."""
    from ovbench.methods.wrappers import WRAPPERS

    rows = [("method", "kind", "needs", "weights shipped for")]
    rows += [(c.id, c.kind, _needs(c), _shipped(c)) for c in cards]
    widths = [max(len(r[i]) for r in rows) for i in range(3)]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(r, widths, strict=False)) + "  " + r[3] for r in rows]
    return "\n".join(
        [
            *(line.rstrip() for line in lines),
            "",
            *(f"'+{w.name}' behind any name: {w.line}." for w in WRAPPERS.values()),
            "ovbench methods show ID explains a method.",
        ]
    )


def card_text(card: Card) -> str:
    """Everything a card says, for a person."""
    lines = [f"{card.id}: {card.title} ({card.kind})"]
    if card.summary:
        lines.append(card.summary)
    facts = (
        ("paper", card.paper),
        ("code", card.code),
        ("licence", card.licence),
        ("trained on", "; ".join(card.trained_on)),
        ("needs", _needs(card)),
        ("trainable", _trainable(card)),
    )
    lines += [f"  {name + ':':<12}{text}" for name, text in facts if text]
    lines += _variants(card) + _ablations(card) + _options(card) + _weights(card)
    return "\n".join(lines)


def _trainable(card: Card) -> str:
    from ovbench.methods.select import trained_variants

    if not card.trainer:
        return ""
    every, named = [v.name for v in card.variants.values() if not v.ablation], trained_variants(card)
    others = [name for name in every if name not in named]
    if not others:
        return "yes, with `ovbench train`"
    if len(named) <= len(others):
        return f"only {', '.join(named)}, with `ovbench train`"
    return f"yes, with `ovbench train`, but for {', '.join(others)}"


def _variants(card: Card) -> list[str]:
    if not card.variants:
        return []
    lines = ["", "variants"]
    for variant in card.variants.values():
        if variant.ablation:
            continue
        used = [key for key, name in card.default_variants.items() if name == variant.name]
        if card.default_variant == variant.name:
            used.insert(0, "default")
        mark = f" [{', '.join(used)}]" if used else ""
        lines.append(f"  {variant.name}{mark}: {variant.description}")
    return lines


def _ablations(card: Card) -> list[str]:
    from ovbench.methods.options import show as written

    found = card.ablations
    if found is None:
        return []
    lines = [
        "",
        f"ablations ({found.title}; variants '{found.variant('SIZE', 'ROW')}', "
        f"SIZE one of: {', '.join(found.variants)};",
        f"  trained and tabulated together: ovbench ablate --method {card.id} --protocol P --seeds 3)",
    ]
    for row in found.rows.values():
        changes = ", ".join(f"{key}={written(value)}" for key, value in row.options.items())
        lines.append(f"  {row.name}: {row.description} [{changes}]")
    return lines


def _options(card: Card) -> list[str]:
    from ovbench.methods.options import show as written

    if not card.options:
        return []
    lines = ["", "options (--set key=value), with their defaults"]
    for key, value in card.options.items():
        allowed: list[str] = [written(c) for c in card.choices.get(key, ())]
        if isinstance(value, bool):
            allowed = ["on", "off"]
        text = f"  {key} = {written(value)}"
        lines.append(text + (f"   (one of: {', '.join(allowed)})" if allowed else ""))
    return lines


def _weights(card: Card) -> list[str]:
    if not (card.needs_weights or card.weights):
        return []
    lines = ["", "weights"]
    for entry in card.weights:
        where = ", ".join(entry.protocols) or "any protocol"
        lines.append(f"  shipped: {entry.name} for variant '{entry.variant}' on {where}")
    for label in ("file", "source", "note"):
        text = getattr(card.official, label)
        if text:
            lines.append(f"  {'expected' if label == 'file' else label}: {text}")
    return lines


def _needs(card: Card) -> str:
    parts = [f"ovbench[{extra}]" for extra in card.needs]
    for wanted, name in (
        (card.needs_weights, "weights"),
        (card.needs_truth, "the truth"),
        (card.needs_train_split, "the training split"),
    ):
        if wanted:
            parts.append(name)
    return ", ".join(parts) or "-"


def _shipped(card: Card) -> str:
    named = dict.fromkeys(p for w in card.weights for p in (w.protocols or ("any protocol",)))
    return ", ".join(named) or "-"
