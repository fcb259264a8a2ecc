"""How the bare loop's time grows with what is asked of it: evaluations, pixels, batch, images.

    python benchmarks/cost.py [--network builtin] [--json FILE]

For each, the seconds, a straight line through the first and the last, and how far those between
are off it.
"""

from __future__ import annotations

import time

import torch
from timing import NETWORKS, device, network, parser, synchronize, write

from diffpir import Downsample, EpsDenoiser, SamplerConfig, Schedule, gaussian_kernel, noise_stream
from diffpir.config import TILE
from diffpir.networks.precision import place
from diffpir.sampler import sample
from diffpir.sampling import together
from diffpir.tiling import Tiled

USUAL = {"nfe": 5, "side": 256, "batch": 1, "images": 1}
SCALES = {
    "nfe": [2, 5, 10, 20, 40],
    "side": [64, 128, 256, 512, 1024],
    "batch": [1, 2, 4, 8],
    "images": [1, 2, 4, 8],
}


def seconds(denoise, on: torch.device, *, nfe: int, side: int, batch: int, images: int) -> float:
    """Of ``images`` batches, one after the other."""
    kernel = torch.tensor(gaussian_kernel(25, 3.0)).float().to(on)
    y = torch.rand((batch, 3, side, side), generator=torch.Generator().manual_seed(0)).to(on)
    tiled = Tiled(denoise, TILE, batch_pixels=batch * min(side, TILE) ** 2, multiple=8)
    synchronize()
    began = time.perf_counter()
    with torch.inference_mode():
        for i in range(images):
            sampling = sample(
                Downsample(kernel),
                y,
                schedule=denoise.schedule,
                config=SamplerConfig(nfe=nfe),
                noise_level=0.05,
                noise=noise_stream(range(i, i + batch), (3, side, side), on),
            )
            together(tiled, [sampling])
    synchronize()
    return time.perf_counter() - began


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--network", choices=NETWORKS, default="builtin")
    options.add_argument("--precision", default="auto")
    options.add_argument("--repeats", type=int, default=2)
    options = options.parse_args()
    on = device()
    denoise = EpsDenoiser(place(network(options.network), on, options.precision), Schedule.linear())
    found = {}
    for name, values in SCALES.items():
        work = [value**2 if name == "side" else value for value in values]
        taken = [
            min(seconds(denoise, on, **{**USUAL, name: v}) for _ in range(options.repeats + 1))
            for v in values
        ]
        slope = (taken[-1] - taken[0]) / (work[-1] - work[0])
        line = [taken[0] + slope * (w - work[0]) for w in work]
        off = [t / at - 1 for t, at in zip(taken, line, strict=True)]
        found[name] = {
            "values": values,
            "seconds": taken,
            "off_the_line": off,
            "per_unit": [t / w for t, w in zip(taken, work, strict=True)],
        }
        print(f"{name}:")
        for v, t, w, o in zip(values, taken, work, off, strict=True):
            print(f"  {v:5}  {t:8.3f} s  {t / w:.3g} s each  {o:+.1%} off the line", flush=True)
    write(options.json, {"network": options.network, "usual": USUAL, "scales": found})


if __name__ == "__main__":
    main()
