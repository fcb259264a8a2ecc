"""Salt and pepper: inpainting what the pixels' values tell, what is known to be hidden, medians.

    python benchmarks/salt_and_pepper.py SET [SET ...] [--share 0.1] [--nfe 12] [--limit 20]
        [--side 256] [-o FOLDER]

Of central squares of each set's pictures, a share of the pixels becomes black or white, or a share
of the values of each channel by itself. They are restored with the embedded prior, once with the
true mask and once with the one that `values: [0, 255]` finds (`areas: true` hides all such values,
the scene's too); beside these are median filters, also of the damaged pixels alone. True pixels may
be black or white as well. With `-o` the pictures are written.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import median_filter

from diffpir import (
    EpsDenoiser,
    Schedule,
    builtin_path,
    load_model,
    metrics,
    noise_stream,
    restore,
)
from diffpir.checkpoints.checkpoint import read_spectrum
from diffpir.networks.precision import dtype_of
from manifests.build import build
from pipeline.pictures.decode import decode_picture
from pipeline.restoring.problem import build_problem, operator_of, start_of
from pipeline.spec.job import JobSpec
from pipeline.tasks.assets import Assets
from pipeline.tasks.masks import Mask
from pipeline.tasks.row import Inputs, to_tensor

Restore = Callable[[np.ndarray, np.ndarray], np.ndarray]


def squares(folder: str, side: int, limit: int | None) -> Iterator[tuple[str, np.ndarray]]:
    """Names and central squares (side, side, 3) of a folder's pictures, evenly chosen."""
    found = build(folder).to_pylist()
    step = max(1, len(found) // limit) if limit else 1
    for row in found[::step][:limit]:
        picture = Image.open(row["image"]).convert("RGB")
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        box = left, top, left + side, top + side
        yield f"{Path(folder).name}/{Path(row['id']).name}", np.asarray(picture.crop(box))


def damaged(
    clean: np.ndarray, share: float, channels: str, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """The picture with salt and pepper, and where: (H, W), or (H, W, 3) for ``each`` channel."""
    rng = np.random.default_rng(seed)
    shape = clean.shape if channels == "each" else (*clean.shape[:2], 1)
    hidden = rng.random(shape) < share
    return np.where(hidden, 255 * rng.integers(0, 2, shape), clean).astype(np.uint8), hidden


def found(picture: np.ndarray, **mask: Any) -> np.ndarray:
    """What is known of a picture, (H, W) or (H, W, 3), by the mask of a task."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    told = Mask(values=(0, 255), **mask).pixel_mask
    known = decode_picture(buffer.getvalue(), mask=told).known
    assert known is not None
    return known


def restorer(nfe: int) -> Restore:
    """Restores a picture under a mask (H, W) or (H, W, 3), as a job does."""
    schedule, path = Schedule.linear(), builtin_path()
    net = load_model(path, dtype_of("auto", torch.device("cpu")))
    denoise, spectrum = EpsDenoiser(net, schedule), read_spectrum(path)
    spec = JobSpec.model_validate(
        {
            "manifest": "unused",
            "output": "unused",
            "task": {"kind": "inpaint", "mask": {"values": [0, 255]}},
            "sampler": {"nfe": nfe},
        }
    )

    def restored(picture: np.ndarray, known: np.ndarray) -> np.ndarray:
        inputs = Inputs(picture, mask=known)
        problem = build_problem({"id": "a"}, inputs, spec, Assets())
        operator, config = operator_of([problem]), spec.sampler_config(spectral=True)
        with torch.inference_mode():
            x = restore(
                denoise,
                operator,
                problem.y,
                schedule=schedule,
                config=config,
                noise_level=problem.noise_level,
                noise=noise_stream([problem.seed], tuple(problem.y.shape[1:])),
                guess=start_of([problem], operator, problem.y, config),
                spectrum=spectrum,
            )
        return (x[0].clamp(0, 1) * 255).round().permute(1, 2, 0).numpy().astype(np.uint8)

    return restored


def methods(
    picture: np.ndarray, hidden: np.ndarray, channels: str, restored: Restore
) -> Iterator[tuple[str, np.ndarray]]:
    """Names and results."""
    yield "damaged", picture
    for side in (3, 5):
        smooth = median_filter(picture, (side, side, 1))
        yield f"median {side} x {side}", smooth
        yield f"median {side} x {side} of the damaged", np.where(hidden, smooth, picture)
    masks = {
        "true mask": ~hidden if channels == "each" else ~hidden[..., 0],
        "values": found(picture, channels=channels),
        "values and areas": found(picture, channels=channels, areas=True),
    }
    results: dict[bytes, np.ndarray] = {}  # masks that are the same give the same
    for name, known in masks.items():
        key = known.tobytes()
        if key not in results:
            results[key] = restored(picture, known)
        yield f"DiffPIR, {name}", results[key]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="+", metavar="SET")
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--nfe", type=int, default=12)
    parser.add_argument("--limit", type=int, help="pictures of each set")
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    restored = restorer(given.nfe)
    for channels in ("all", "each"):
        scores: dict[str, list[tuple[str, float, float]]] = {}
        number = 0
        for folder in given.sets:
            for name, clean in squares(folder, given.side, given.limit):
                picture, hidden = damaged(clean, given.share, channels, number)
                number += 1
                for method, result in methods(picture, hidden, channels, restored):
                    pair = to_tensor(result), to_tensor(clean)
                    score = name, metrics.psnr(*pair).item(), metrics.ssim(*pair).item()
                    scores.setdefault(method, []).append(score)
                    print(channels, method, *score, file=sys.stderr, flush=True)
                    if given.output:
                        file = given.output / channels / name / f"{method}.png"
                        file.parent.mkdir(parents=True, exist_ok=True)
                        Image.fromarray(result).save(file)
        whole = "values of each channel" if channels == "each" else "pixels"
        print(f"\n{given.share:.0%} of the {whole}, {number} pictures, {given.nfe} evaluations\n")
        print("| method | PSNR | SSIM | below the true mask's: mean | most |")
        print("| --- | --- | --- | --- | --- |")
        best = scores["DiffPIR, true mask"]
        for method, rows in scores.items():
            lost = [(b[1] - row[1], row[0]) for b, row in zip(best, rows, strict=True)]
            print(
                f"| {method} | {np.mean([row[1] for row in rows]):.2f} "
                f"| {np.mean([row[2] for row in rows]):.4f} "
                f"| {np.mean([loss for loss, _ in lost]):.2f} "
                f"| {max(lost)[0]:.2f} ({max(lost)[1]}) |",
                flush=True,
            )


if __name__ == "__main__":
    main()
