"""Options of a method: `--set k=v` texts become values of the default's type, checked by name and choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ovbench.core.errors import UserError, unknown

_TRUE = ("on", "true", "yes", "1")
_FALSE = ("off", "false", "no", "0")


def split_settings(settings: Sequence[str]) -> dict[str, str]:
    """`["k=v", ...]` as a dictionary; raises `UserError` for a part without '=' or a key given twice."""
    found: dict[str, str] = {}
    for text in settings:
        key, sign, value = text.partition("=")
        key = key.strip()
        if not sign or not key:
            raise UserError(f"--set {text!r} is not of the form key=value")
        if key in found:
            raise UserError(f"option '{key}' is set twice", where=f"--set {text}")
        found[key] = value.strip()
    return found


def resolve_options(
    method: str,
    defaults: Mapping[str, Any],
    choices: Mapping[str, Sequence[Any]],
    given: Mapping[str, Any],
) -> dict[str, Any]:
    """Defaults with `given` put over them; texts are parsed to the type of the default.

    Raises:
        UserError: an unknown option (with near names), a text that does not parse, a value that is
            not among the choices (they are listed).
    """
    result = dict(defaults)
    for key, value in given.items():
        if key not in defaults:
            raise unknown(f"option of {method}", key, defaults)
        result[key] = _parse(method, key, value, defaults[key])
        allowed = choices.get(key)
        if allowed is not None and result[key] not in allowed:
            shown = ", ".join(show(a) for a in allowed)
            raise UserError(f"option '{key}' of {method} cannot be '{show(value)}'", hint=f"allowed: {shown}")
    return dict(sorted(result.items()))


def show(value: Any) -> str:
    """A value as it is written after `--set key=`."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list | tuple):
        return ",".join(show(v) for v in value)
    return str(value)


def _parse(method: str, key: str, value: Any, default: Any) -> Any:
    if isinstance(value, bool) and default in ("on", "off"):
        return "on" if value else "off"
    if not isinstance(value, str):
        return _same_type(method, key, value, default)
    try:
        return _from_text(value, default)
    except ValueError:
        kind = "on or off" if isinstance(default, bool) else f"like {show(default)!r}"
        raise UserError(
            f"option '{key}' of {method} cannot be '{value}'", hint=f"give a value {kind}"
        ) from None


def _from_text(text: str, default: Any) -> Any:
    if isinstance(default, bool):
        if text.lower() in _TRUE:
            return True
        if text.lower() in _FALSE:
            return False
        raise ValueError
    if isinstance(default, list | tuple):
        first = default[0] if default else ""
        return [_from_text(part.strip(), first) for part in text.split(",") if part.strip()]
    if isinstance(default, int | float):
        return type(default)(text)
    return text


def _same_type(method: str, key: str, value: Any, default: Any) -> Any:
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, tuple):
        value = list(value)
    if type(value) is not type(default):
        raise UserError(
            f"option '{key}' of {method} must be {type(default).__name__}, not {type(value).__name__}",
            hint=f"the default is {default!r}",
        )
    return value
