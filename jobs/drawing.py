"""Contact sheets: rows of pictures of any size, with captions, drawn into one picture."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

GAP, TEXT = 8, 18  # pixels between pictures, and of a line of text
MAX_WIDTH = 2500  # of a sheet in pixels: rows stand side by side as far as they fit into it
WORDS_LINES = 4  # of what went wrong with a row, at most
CHARACTER = 7  # pixels, about


@dataclass(frozen=True)
class Cell:
    """An RGB picture, no larger than a cell of the sheet, and what is written below it."""

    picture: Image.Image
    caption: str


@dataclass(frozen=True)
class Row:
    """A title, lines of cells below each other, and words where there is no picture to show."""

    title: str
    lines: Sequence[Sequence[Cell]] = ()
    words: str = ""


def contact_sheet(rows: Sequence[Row], side: int) -> Image.Image:
    """All rows, in the order of reading; ``side`` is that of a cell in pixels."""
    cells = max((len(line) for row in rows for line in row.lines), default=1)
    width = cells * (side + GAP) + GAP
    across = max(1, min(len(rows), MAX_WIDTH // width))
    drawn = [_drawn(row, width, side) for row in rows]
    bands = [drawn[i : i + across] for i in range(0, len(drawn), across)]
    heights = [max(picture.height for picture in band) for band in bands]
    sheet = Image.new("RGB", (across * width, sum(heights) + GAP), "white")
    top = GAP
    for band, height in zip(bands, heights, strict=True):
        for i, picture in enumerate(band):
            sheet.paste(picture, (i * width, top))
        top += height
    return sheet


def _drawn(row: Row, width: int, side: int) -> Image.Image:
    font = ImageFont.load_default(13)
    words = textwrap.wrap(row.words, (width - GAP) // CHARACTER, max_lines=WORDS_LINES)
    heights = [max(cell.picture.height for cell in line) + TEXT for line in row.lines]
    height = TEXT + sum(heights) + TEXT * len(words) + GAP
    picture = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(picture)
    draw.text((GAP, 0), _clipped(row.title, width - 2 * GAP, font), "black", font)
    top = TEXT
    for line, height in zip(row.lines, heights, strict=True):
        for i, cell in enumerate(line):
            left = GAP + i * (side + GAP)
            picture.paste(cell.picture, (left, top))
            draw.text(
                (left, top + height - TEXT), _clipped(cell.caption, side, font), "black", font
            )
        top += height
    for text in words:
        draw.text((GAP, top), text, "firebrick", font)
        top += TEXT
    return picture


def _clipped(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    text = " ".join(text.split())
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."
