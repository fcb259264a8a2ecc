"""What a boundary costs: photographs blurred by a valid convolution, restored with each.

    python benchmarks/borders.py FOLDER [--limit 8] [--nfe 20] [--kernel motion]

The central squares of FOLDER's pictures are blurred; only what the kernel saw whole is kept, as a
camera does, and noise is added. Printed: mean PSNR of the frame, and of its outermost pixels (as
many as the kernel is wide), for each boundary, and for the blurred image itself.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from PIL import Image

from diffpir import (
    EpsDenoiser,
    PartialBlur,
    Schedule,
    builtin_path,
    gaussian_kernel,
    load_model,
    motion_kernel,
    noise_stream,
    restore,
)
from diffpir.config import SamplerConfig
from diffpir.networks.precision import place
from diffpir.operators.partial import trimmed
from diffpir.synthesis import add_noise
from manifests.build import build
from pipeline.tasks import preset

SIDE, NOISE = 280, 0.02
BOUNDARIES = ("circular", "reflect", "unknown")


def kernel_of(kind: str, image: int) -> np.ndarray:
    if kind == "gaussian":
        return trimmed(gaussian_kernel(61, 3.0))
    return trimmed(motion_kernel(31, 0.5, np.random.default_rng(image)))


def squares(folder: str, limit: int) -> list[torch.Tensor]:
    found = []
    for file in build(folder)["image"].to_pylist()[:limit]:
        picture = np.asarray(Image.open(file).convert("RGB"))
        top, left = ((side - SIDE) // 2 for side in picture.shape[:2])
        square = picture[top : top + SIDE, left : left + SIDE]
        found.append(torch.tensor(square).permute(2, 0, 1)[None] / 255)
    return found


def psnr(x: torch.Tensor, reference: torch.Tensor, border: int) -> tuple[float, float]:
    """In dB, of the whole and of its border."""
    error = (x.clamp(0, 1) - reference).square().mean(dim=(0, 1))
    inner = error[border:-border, border:-border]
    ring = (error.sum() - inner.sum()) / (error.numel() - inner.numel())
    return tuple(float(-10 * torch.log10(e)) for e in (error.mean(), ring))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="folder or glob of clean pictures")
    parser.add_argument("--limit", type=int, default=8)
    parser.add_argument("--nfe", type=int, default=20)
    parser.add_argument("--kernel", choices=("gaussian", "motion"), default="motion")
    options = parser.parse_args()

    schedule = Schedule.linear()
    denoise = EpsDenoiser(place(load_model(builtin_path())), schedule)
    usual = preset("builtin-deblur")
    config = SamplerConfig(nfe=options.nfe, lam=usual.lam, zeta=usual.zeta)
    scores: dict[str, list] = {name: [] for name in ("blurred", *BOUNDARIES)}
    for i, clean in enumerate(squares(options.folder, options.limit)):
        kernel = kernel_of(options.kernel, i)
        size = tuple(SIDE - k + 1 for k in kernel.shape)
        point_spread = torch.tensor(kernel).float()
        camera = PartialBlur(point_spread, size)
        height, width = camera.initial(torch.zeros(1, 3, *size)).shape[2:]
        beyond = (0, width - SIDE, 0, height - SIDE)  # a fast length; the blur does not look there
        scene = torch.nn.functional.pad(clean, beyond, "replicate")
        reference = camera.frame(scene)
        y = add_noise(camera.forward(scene), NOISE, i, camera)
        border = max(kernel.shape)
        scores["blurred"].append(psnr(y, reference, border))
        for name in BOUNDARIES:
            operator = PartialBlur(point_spread, size, boundary=name)
            with torch.inference_mode():
                x = restore(
                    denoise,
                    operator,
                    y,
                    schedule=schedule,
                    config=config,
                    noise_level=NOISE,
                    noise=noise_stream([i], tuple(operator.initial(y).shape[1:])),
                )
            scores[name].append(psnr(operator.frame(x), reference, border))
    count = len(scores["blurred"])
    print(f"{'boundary':10} {'PSNR':>6} {'border':>7}   ({count} images, dB)")
    for name, values in scores.items():
        whole, ring = np.mean(values, axis=0)
        print(f"{name:10} {whole:6.2f} {ring:7.2f}")


if __name__ == "__main__":
    main()
