"""Contact sheets: rows of pictures with captions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

GAP, TEXT = 8, 18  # pixels between pictures, and of a caption's height


@dataclass(frozen=True)
class Row:
    """A title, and pictures (H, W) or (H, W, 3) uint8 of one size, each with a caption."""

    title: str
    pictures: Sequence[np.ndarray]
    captions: Sequence[str]


def contact_sheet(rows: Sequence[Row], across: int = 3) -> Image.Image:
    """All rows, ``across`` of them side by side."""
    height, width = rows[0].pictures[0].shape[:2]
    cell_w = len(rows[0].pictures) * (width + GAP) + 2 * GAP
    cell_h = height + 2 * TEXT + 2 * GAP
    down = -(-len(rows) // across)
    sheet = Image.new("RGB", (min(across, len(rows)) * cell_w, down * cell_h), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(13)
    for i, row in enumerate(rows):
        left, top = i % across * cell_w + GAP, i // across * cell_h + GAP
        draw.text((left, top), row.title, "black", font)
        for picture, caption in zip(row.pictures, row.captions, strict=True):
            sheet.paste(Image.fromarray(picture).convert("RGB"), (left, top + TEXT))
            draw.text((left, top + TEXT + height), caption, "black", font)
            left += width + GAP
    return sheet
