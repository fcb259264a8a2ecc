"""Restored images as HTML for a notebook, with the pictures inside."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

MOST = 16  # results that a notebook shows
SIDE = 384  # pixels of a picture that is shown, at most
LEAST = 192  # that a small picture is enlarged to
UNITS = {"psnr": " dB", "psnr_y": " dB", "baseline_psnr": " dB"}


class Shown(NamedTuple):
    """Of a result: pictures by their names, of which ``after`` is one, numbers, and settings."""

    pictures: Mapping[str, np.ndarray]
    numbers: Mapping[str, float]
    settings: Mapping[str, Any]


def page_of(results: Sequence[Shown]) -> str:
    """The pictures of each result in a row, its numbers, and the settings below."""
    if not results:
        return "<p>no images</p>"
    rows = "".join(_row(result) for result in results[:MOST])
    left = len(results) - MOST
    more = f"<p>and {left} more</p>" if left > 0 else ""
    return f"{rows}{more}{_settings(results[0].settings)}"


def _row(result: Shown) -> str:
    height, width = result.pictures["after"].shape[:2]
    scale = SIDE / max(height, width)
    scale = min(scale, max(1.0, LEAST / max(height, width)))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    figures = "".join(_figure(name, picture, size) for name, picture in result.pictures.items())
    numbers = " &middot; ".join(
        f"{name} {value:.4g}{UNITS.get(name, '')}" for name, value in result.numbers.items()
    )
    return f'<div style="display:flex;flex-wrap:wrap;gap:8px">{figures}</div><p>{numbers}</p>'


def _figure(name: str, picture: np.ndarray, size: tuple[int, int]) -> str:
    width, height = size
    data = base64.b64encode(_png(picture, size)).decode()
    return (
        '<figure style="margin:0;text-align:center">'
        f'<img alt="{name}" width="{width}" height="{height}" src="data:image/png;base64,{data}">'
        f"<figcaption>{name}</figcaption></figure>"
    )


def _png(picture: np.ndarray, size: tuple[int, int]) -> bytes:
    """As PNG, reduced where it is larger than it is shown. Of other channels their mean."""
    if picture.dtype.kind == "f":
        picture = picture.clip(0, 1) * 255
    elif picture.dtype == np.uint16:
        picture = picture / 257
    if picture.ndim == 3 and picture.shape[2] != 3:
        picture = picture.mean(axis=2)
    image = Image.fromarray(np.round(picture).astype(np.uint8))
    if image.width > size[0]:
        image = image.resize(size, Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


def _settings(settings: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><td>{html.escape(name)}</td><td>{html.escape(_text(value))}</td></tr>"
        for name, value in settings.items()
    )
    return f"<details><summary>settings</summary><table>{rows}</table></details>"


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
