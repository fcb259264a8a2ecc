"""Make the pictures of the documentation: photographs of scikit-image, restored by this product.

    python scripts/docs_pictures.py [NAME ...]      # all of them, or some: deblur, lambda, ...

They lie in docs/pictures. With NAME ``notebooks``, the notebooks are run and keep their outputs.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from skimage import data

from pipeline import RestoredImage, restore_images

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs/pictures"
BAR = 22  # pixels of the line with the label above each picture
GAP = 6
Cell = tuple[str, np.ndarray]


def part(name: str, top: int, left: int, side: int) -> np.ndarray:
    """A square of one of scikit-image's photographs."""
    return getattr(data, name)()[top : top + side, left : left + side]


def strip(cells: Iterable[Cell], side: int) -> Image.Image:
    """Labelled squares next to each other; smaller pictures are enlarged by repeating pixels."""
    cells = list(cells)
    width = len(cells) * (side + GAP) - GAP
    sheet = Image.new("RGB", (width, side + BAR), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(13)
    for i, (label, pixels) in enumerate(cells):
        left = i * (side + GAP)
        picture = Image.fromarray(pixels).convert("RGB")
        sheet.paste(picture.resize((side, side), Image.Resampling.NEAREST), (left, BAR))
        draw.text((left + 2, 3), label, "black", font)
    return sheet


def told(what: str, result: RestoredImage, name: str = "psnr") -> str:
    return f"{what}: {result.metrics[name]:.1f} dB"


def degraded(task: str, photo: np.ndarray, **settings) -> Image.Image:
    """A clean photograph, degraded by the task, restored and compared."""
    result = restore_images(photo, task, mode="benchmark", **settings)
    shown = [("before", result.before), (told("after", result), result.image)]
    return strip([*shown, ("original", photo)], photo.shape[0])


def inpaint() -> Image.Image:
    """A mark in one colour is taken away."""
    photo = part("chelsea", 20, 110, 256)
    marked = Image.fromarray(photo)
    draw = ImageDraw.Draw(marked)
    draw.fontmode = "1"  # without shades between the mark and the picture
    draw.text((14, 100), "SAMPLE", "#ff00ff", ImageFont.load_default(58))
    draw.line([(0, 30), (255, 70), (20, 255)], "#ff00ff", 3)
    before = np.asarray(marked)
    mask = {"colour": "#ff00ff", "grow": 1}
    result = restore_images(before, "inpaint", mask=mask, reference=photo)
    return strip(
        [("before", before), (told("after", result), result.image), ("original", photo)], 256
    )


def jpeg() -> Image.Image:
    photo = part("coffee", 40, 180, 256)
    file = io.BytesIO()
    Image.fromarray(photo).save(file, "JPEG", quality=12)
    result = restore_images(file.getvalue(), "jpeg", reference=photo)
    before = np.asarray(Image.open(file))
    return strip(
        [("before", before), (told("after", result), result.image), ("original", photo)], 256
    )


def measured() -> tuple[np.ndarray, np.ndarray, dict]:
    """A photograph, what a blur and noise of 0.05 left of it, and what the settings all share."""
    photo = part("astronaut", 0, 128, 192)
    shared = {"kernel": {"motion": {"length": 9, "angle": 30}}, "boundary": "circular"}
    made = restore_images(photo, "deblur", mode="benchmark", noise_level=0.05, nfe=2, **shared)
    return photo, made.before, {"task": "deblur", "reference": photo, **shared}


def series(name: str, values: Iterable, label: str, **fixed) -> Image.Image:
    """One measurement restored with several values of one setting."""
    photo, before, shared = measured()
    cells: list[Cell] = [("measured", before)]
    for value in values:
        result = restore_images(before, **shared | {"noise_level": 0.05} | fixed | {name: value})
        cells.append((told(f"{label} {value:g}", result), result.image))
    return strip([*cells, ("original", photo)], 192)


def rings() -> Image.Image:
    """A kernel that is not the picture's, with the true noise level and with a larger one."""
    _, before, shared = measured()
    cells: list[Cell] = [("measured", before)]
    right = restore_images(before, noise_level=0.05, **shared)
    wrong = shared | {"kernel": {"motion": {"length": 15, "angle": 30}}}
    for level in (0.02, 0.05, 0.12):
        result = restore_images(before, noise_level=level, **wrong)
        cells.append((told(f"wrong kernel, {level:g}", result), result.image))
    return strip([*cells, (told("right kernel, 0.05", right), right.image)], 192)


STROKE = {"motion": {"length": 13, "angle": 35}}
PICTURES: dict[str, Callable[[], Image.Image]] = {
    "deblur": lambda: degraded(
        "deblur", part("astronaut", 0, 100, 256), kernel=STROKE, noise_level=0.02
    ),
    "sr": lambda: degraded("sr", part("chelsea", 20, 110, 256), factor=2, noise_level=0.02),
    "denoise": lambda: degraded("denoise", part("coffee", 40, 180, 256), noise_level=0.1),
    "inpaint": inpaint,
    "colorize": lambda: degraded("colorize", part("rocket", 90, 200, 256)),
    "demosaic": lambda: degraded("demosaic", part("coffee", 40, 180, 256), noise_level=0.01),
    "jpeg": jpeg,
    "declip": lambda: degraded("declip", part("coffee", 40, 180, 256), high=0.8),
    "dequantize": lambda: degraded("dequantize", part("astronaut", 0, 100, 256), levels=6),
    "lambda": lambda: series("lam", (0.5, 5, 50), "lam", method="diffpir"),
    "zeta": lambda: series("zeta", (0, 0.5, 1), "zeta", method="diffpir"),
    "evaluations": lambda: series("nfe", (5, 20, 100), "nfe", method="diffpir"),
    "noise": lambda: series("noise_level", (0.01, 0.05, 0.15), "noise"),
    "rings": rings,
}


def run_notebooks() -> None:
    import nbformat
    from nbclient import NotebookClient

    for file in sorted((ROOT / "docs/notebooks").glob("*.ipynb")):
        notebook = nbformat.read(file, as_version=4)
        where = {"metadata": {"path": str(ROOT)}}
        NotebookClient(notebook, timeout=600, resources=where, coalesce_streams=True).execute()
        for cell in notebook.cells:
            cell.metadata.pop("execution", None)
        nbformat.write(notebook, file)


def main(names: list[str]) -> None:
    FOLDER.mkdir(exist_ok=True)
    for name in names or [*PICTURES, "notebooks"]:
        if name == "notebooks":
            run_notebooks()
        else:
            PICTURES[name]().save(FOLDER / f"{name}.jpg", quality=88, optimize=True)
        print(name, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
