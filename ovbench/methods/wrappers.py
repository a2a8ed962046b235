"""What may be put around any method, by name: `METHOD+vote`, `METHOD+flow`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ovbench.core.errors import unknown

from . import flow, vote
from .base import Segmenter

SIGN = "+"

Options = Mapping[str, Any]


def _nothing(options: Options) -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class Wrapper:
    """Something done to the label maps of any method.

    `options` are its defaults, named after it so that they never meet a method's. `check` raises `UserError`
    for values out of range; `key` gives what decides the outcome besides options and code of `ovbench.methods`,
    for the run key, and is where a missing package is found out. `stored` raises `UserError` where label maps
    from disk cannot take the inner method's place.
    """

    name: str
    line: str  # for `ovbench methods`
    options: Options
    check: Callable[[Options], None]
    wrap: Callable[[Segmenter, Options], Segmenter]
    choices: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    key: Callable[[Options], dict[str, Any]] = _nothing
    stored: Callable[[Options], object] = _nothing


WRAPPERS = {
    wrapper.name: wrapper
    for wrapper in (
        Wrapper(
            "vote",
            "majority over neighbouring frames (--set vote_window=4)",
            vote.VOTE_OPTIONS,
            vote.check_options,
            lambda inner, options: vote.VoteSegmenter(inner, options["vote_window"]),
        ),
        Wrapper(
            "flow",
            "the same along optical flow, pixel by pixel where it went (--set flow_window=4)",
            flow.FLOW_OPTIONS,
            flow.check_options,
            flow.wrap,
            flow.FLOW_CHOICES,
            flow.key,
            flow.check_stored,
        ),
    )
}
"""All wrappers by name."""


def split_wrapper(name: str) -> tuple[str, Wrapper | None]:
    """ "method+vote" -> the method's name and the wrapper; raises `UserError` for one that does not exist."""
    base, sign, wrapper = name.partition(SIGN)
    if sign and wrapper not in WRAPPERS:
        raise unknown("wrapper", wrapper, WRAPPERS, where=name)
    return base, WRAPPERS[wrapper] if sign else None
