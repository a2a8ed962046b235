"""What two descriptions of the same folder disagree about, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_SHOWN = 6


def differences(there: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """ "batch: 4 there, 2 now; seed: 0 there, 1 now"; the entries of tables (options) stand one by one."""
    old, new = dict(_flat(there)), dict(_flat(now))
    names = sorted(
        name for name in {*old, *new} if old.get(name) != new.get(name) or (name in old) != (name in new)
    )
    parts = [f"{name}: {_show(old, name)} there, {_show(new, name)} now" for name in names[:_SHOWN]]
    if len(names) > _SHOWN:
        parts.append(f"and {len(names) - _SHOWN} more")
    return "; ".join(parts)


def _flat(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value)
        else:
            yield name, value


def _show(values: Mapping[str, Any], name: str) -> str:
    return repr(values[name]) if name in values else "nothing"
