"""What the header of a weights file must say to be taken."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from ovbench.core.errors import UserError
from ovbench.methods.base import Setup
from ovbench.methods.registry import card

METHOD = "ov2vss"
_BEGINNINGS = {"paper": ("net.",), "release": ("decode_head.",)}


def check_profile(setup: Setup) -> None:
    """Refuse a profile that is not the variant's own: a profile is a network, not a setting of one.

    Raises:
        UserError: names the variant and its profile.
    """
    asked = setup.options.get("profile", "paper")
    ours = card(METHOD)
    variant = ours.variants.get(setup.variant)
    own = (variant.options if variant else {}).get("profile", ours.options["profile"])
    if asked == own:
        return
    if asked == "release":
        raise UserError(
            f"the profile 'release' is a variant of its own, not '{setup.variant}'", hint="--variant release"
        )
    raise UserError(
        f"the variant '{setup.variant}' is the profile '{own}', it cannot be '{asked}'",
        where=f"profile={asked}",
        hint=f"leave profile out; `ovbench methods show {METHOD}` lists the variants of each profile",
    )


def check_header(header: Mapping[str, str], where: Path, profile: str, variant: str = "") -> None:
    """Refuse weights of another method, profile or variant. Files without a header are judged by names alone.

    Raises:
        UserError: names what the file is.
    """
    if header.get("method", METHOD) != METHOD:
        raise UserError(f"these are weights of '{header['method']}', not of {METHOD}", where=where)
    found = header.get("profile", profile)
    trained = header.get("variant", variant)
    if found != profile:
        raise UserError(
            f"these are weights of {METHOD}'s profile '{found}', not of '{profile}'",
            where=where,
            hint=f"--variant {trained if 'variant' in header else found}",
        )
    if variant and trained != variant:
        raise UserError(
            f"these weights were trained as variant '{trained}', not '{variant}'",
            where=where,
            hint=f"--variant {trained}",
        )


def check_names(names: Iterable[str], where: Path, profile: str) -> None:
    """Refuse a file without a header whose names are those of the other profile's network.

    Raises:
        UserError: names the profile that it belongs to.
    """
    found = set(names)
    for other, beginnings in _BEGINNINGS.items():
        if other != profile and any(name.startswith(beginnings) for name in found):
            raise UserError(
                f"these are weights of {METHOD}'s profile '{other}' by their names, not of '{profile}'",
                where=where,
                hint=f"`ovbench weights inspect {where}` says which variant takes them",
            )
