"""Label maps that cannot be counted: several of a video are named in one message."""

from __future__ import annotations

from collections.abc import Sequence

from ovbench.core.errors import UserError

MOST = 10
"""So many wrong label maps are named at once."""


class WrongLabelMap(UserError):
    """A label map of wrong type, size or value."""


def named_together(wrong: Sequence[WrongLabelMap], video: str) -> UserError:
    """One error for all wrong label maps that were found in a video, at least one; `MOST` of them at most."""
    first = wrong[0]
    if len(wrong) == 1:
        return first
    number = f"{len(wrong)}" if len(wrong) < MOST else f"at least {MOST}"
    listed = "".join(f"\n  {error.where}: {error.what}" for error in wrong)
    return UserError(f"{number} label maps of video '{video}' are wrong{listed}", hint=first.hint)
