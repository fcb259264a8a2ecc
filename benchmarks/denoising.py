"""A prior as a denoiser: PSNR of x0 in one evaluation, by noise level.

    python benchmarks/denoising.py FOLDER [--model builtin other.safetensors] [--side 64]
        [--crops 96] [--sigma 0.1 0.2 0.5 1 2] [--json FILE]

FOLDER holds clean pictures that no model was trained on; models see the same random crops with the
same noise, whose level sigma is on the [-1, 1] scale. Printed is the mean over crops in dB, and
for all models but the first the mean difference to the first, with its standard error.
"""

from __future__ import annotations

import numpy as np
import torch
from timing import device, parser, write

from diffpir import builtin_path, load_model
from diffpir.networks.denoiser import EpsDenoiser
from diffpir.schedule import Schedule
from diffpir.training.validation import SIGMAS, denoised_psnr
from manifests import storage
from manifests.build import build
from pipeline.fence.decoders import decode_image

BATCH_PIXELS = 2**18


def crops_of(folder: str, count: int, side: int) -> torch.Tensor:
    """(count, 3, side, side) on [-1, 1], equally many of each picture, at random places."""
    pictures = [decode_image(storage.read_bytes(uri)) for uri in build(folder)["image"].to_pylist()]
    pictures = [p for p in pictures if p.ndim == 3 and min(p.shape[:2]) >= side]
    rng = np.random.default_rng(0)
    crops = []
    for i in range(count):
        picture = pictures[i % len(pictures)]
        top, left = (rng.integers(length - side + 1) for length in picture.shape[:2])
        crops.append(picture[top : top + side, left : left + side])
    return torch.tensor(np.stack(crops)).permute(0, 3, 1, 2).float() / 127.5 - 1


def network(model: str) -> EpsDenoiser:
    net = load_model(builtin_path() if model == "builtin" else model)
    return EpsDenoiser(net.to(device()), Schedule.linear())


def main() -> None:
    options = parser(__doc__)
    options.add_argument("folder")
    options.add_argument("--model", nargs="+", default=["builtin"])
    options.add_argument("--side", type=int, default=64)
    options.add_argument("--crops", type=int, default=96)
    options.add_argument("--sigma", type=float, nargs="+", default=SIGMAS)
    options = options.parse_args()
    crops = crops_of(options.folder, options.crops, options.side).to(device())
    batch = max(1, BATCH_PIXELS // options.side**2)
    print(f"{'sigma':30}" + "".join(f"{sigma:>20g}" for sigma in options.sigma))
    found: dict[str, dict[str, float]] = {}
    first: list[np.ndarray] = []
    for model in options.model:
        denoise = network(model)
        values = [denoised_psnr(denoise, crops, s, batch).cpu().numpy() for s in options.sigma]
        first = first or values
        cells = []
        for value, base in zip(values, first, strict=True):
            gain = value - base
            error = gain.std(ddof=1) / len(gain) ** 0.5
            change = "" if value is base else f" {gain.mean():+.2f} ({error:.2f})"
            cells.append(f"{value.mean():.2f}{change}")
        print(f"{model[-30:]:30}" + "".join(f"{cell:>20}" for cell in cells), flush=True)
        found[model] = {
            f"{sigma:g}": float(value.mean())
            for sigma, value in zip(options.sigma, values, strict=True)
        }
    write(options.json, {"side": options.side, "crops": len(crops), "psnr": found})


if __name__ == "__main__":
    main()
