"""What the header of a weights file must say to be taken."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from ovbench.core.errors import UserError

METHOD = "ov2vss"
_BEGINNINGS = {"paper": ("net.",), "release": ("decode_head.",)}


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
