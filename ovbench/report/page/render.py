"""From what the page shows to HTML. Every name is escaped; the one script is named by its hash."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from importlib import resources
from typing import Any

from markupsafe import Markup, escape

_SCRIPTS = ("tables.js", "origins.js", "viewer.js", "page.js")
GENERATOR = "ovbench report"
"""What the page says made it; also how `write_report` knows a file that it may replace."""


def render(context: Mapping[str, Any]) -> str:
    """The page. `context` is what `assets/report.html` asks for; a name that it lacks is an error."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(asset),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["json_block"] = json_block
    environment.filters["breakable"] = breakable
    environment.globals.update(zip=zip, dict=dict)
    script = "\n".join(["'use strict';", *map(asset, _SCRIPTS)])
    return environment.get_template("report.html").render(
        **context,
        generator=GENERATOR,
        policy=policy(script),
        script=Markup(script),
        style=Markup(asset("report.css")),
    )


def asset(name: str) -> str:
    """The text of a file in `assets`."""
    return resources.files(__package__).joinpath("assets", name).read_text(encoding="utf-8")


def policy(script: str) -> str:
    """The content security policy: nothing is loaded from anywhere, and no script runs but this one.

    Styles may stand inline, as figures have them; with no source but `data:` for pictures, they cannot load anything.
    """
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def breakable(name: str) -> Markup:
    """A name, escaped, that may be broken after a colon, a plus and their like."""
    return Markup(re.sub(r"([:+/_=,])", r"\1<wbr>", str(escape(name))))


def json_block(data: Any) -> Markup:
    """JSON that can stand in a <script> element whatever its strings hold."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def download(name: str, text: str, kind: str = "text/plain") -> dict[str, str]:
    """A file that the page carries: `name`, and an address that holds its text."""
    coded = base64.b64encode(text.encode()).decode()
    return {"name": name, "href": f"data:{kind};charset=utf-8;base64,{coded}"}
