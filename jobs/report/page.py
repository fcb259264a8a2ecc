"""The page itself: one HTML file that loads nothing, and runs its own script alone."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from importlib.resources import files
from typing import Any

# What a page may do: show the pictures inside it and beside it. A live one asks its own server.
POLICY = (
    "default-src 'none'; script-src {scripts}; style-src {styles}; img-src data: {pictures}; "
    "connect-src {connect}; base-uri 'none'; form-action 'none'"
)

SCRIPTS = (
    "vendor/chart.umd.min.js",
    *(
        f"js/{name}.js"
        for name in ("base", "stage", "gallery", "viewer", "process", "figures", "live")
    ),
    "js/page.js",
)


def render(payload: dict[str, Any], *, live: bool = False) -> str:
    """The page that shows this payload (:mod:`jobs.report.contents`).

    Every value from an output reaches the page as data of its script, which only ever makes text
    of them; a strict Content-Security-Policy allows no other script.

    Args:
        payload: JSON values.
        live: the page asks the server that it came from for news.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("jobs.report", ""), autoescape=True, undefined=StrictUndefined
    )
    scripts = [_text(name) for name in SCRIPTS]
    styles = [_text("page.css")]
    policy = POLICY.format(
        scripts=" ".join(map(_digest, scripts)),
        styles=" ".join(map(_digest, styles)),
        pictures="'self'" if live else "file: 'self'",
        connect="'self'" if live else "'none'",
    )
    return environment.get_template("page.html").render(
        policy=policy,
        title=payload["title"],
        scripts=scripts,
        styles=styles,
        payload=_as_script_data(payload),
    )


def _as_script_data(payload: dict[str, Any]) -> str:
    """JSON that no HTML parser takes for a tag, whatever texts are in it."""
    text = json.dumps(payload, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@cache
def _text(name: str) -> str:
    text = files("jobs.report").joinpath(name).read_text(encoding="utf-8")
    assert "</script" not in text and "</style" not in text
    return text


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
