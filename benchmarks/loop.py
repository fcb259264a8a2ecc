"""The bare `restore` loop: images per second, and what it spends outside the network, by part.

    python benchmarks/loop.py [--network ffhq] [--batch 2] [--nfe 10] [--method diffpir-spectral]
        [--json FILE]

Each task is restored once to warm up and once to measure. ``diffpir-spectral`` has the settings of
jobs, and the embedded prior's error spectrum whatever the network. Also told: the operations per
second of the whole loop against those of a matrix product in the same precision.
"""

from __future__ import annotations

import dataclasses
import time
from collections import defaultdict
from typing import get_args

import torch
from timing import NETWORKS, device, network, parser, synchronize, write
from torch.utils.flop_counter import FlopCounterMode
from unet import rates

from diffpir import (
    Denoise,
    Downsample,
    EpsDenoiser,
    Inpaint,
    Linear,
    PartialBlur,
    SamplerConfig,
    Schedule,
    builtin_path,
    gaussian_kernel,
    noise_stream,
    restore,
)
from diffpir.checkpoints.checkpoint import read_spectrum
from diffpir.config import Method
from diffpir.data_step import SpectralStep
from diffpir.networks.precision import compiled, dtype_of, place
from pipeline.restoring.timed import Timed
from pipeline.tasks.defaults import USUAL


class Parts:
    """Seconds of the calls that it wraps, by name; on a GPU, those of the host alone."""

    def __init__(self):
        self.seconds = defaultdict(float)

    def of(self, name, function):
        def timed(*args):
            began = time.perf_counter()
            result = function(*args)
            self.seconds[name] += time.perf_counter() - began
            return result

        return timed


def operators(side: int, on: torch.device) -> dict:
    kernel = torch.tensor(gaussian_kernel(25, 3.0)).float().to(on)
    hidden = torch.rand(1, 1, side, side, generator=torch.Generator().manual_seed(0)) < 0.5
    return {
        "deblur, circular": Downsample(kernel),
        "deblur, unknown border": PartialBlur(kernel, (side, side)),
        "reduced 4 times": Downsample(kernel, 4),
        "half hidden": Inpaint((~hidden).float().to(on)),
        "denoise": Denoise(),
        "a user's operator": Linear(Downsample(kernel).forward, Downsample(kernel).adjoint),
    }


def measurement(operator, batch: int, side: int, on: torch.device) -> torch.Tensor:
    """Of a smooth scene, with noise: conjugate gradients take as many steps as for photographs."""
    g = torch.Generator().manual_seed(1)
    side //= getattr(operator, "factor", 1)
    coarse = torch.rand((batch, 3, 16, 16), generator=g)
    smooth = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic").to(on)
    y = operator.forward(operator.initial(smooth))
    return y + 0.05 * torch.randn(y.shape, generator=g).to(on)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--network", choices=NETWORKS, default="ffhq")
    options.add_argument("--batch", type=int, default=2)
    options.add_argument("--side", type=int, default=256)
    options.add_argument("--nfe", type=int, default=10)
    options.add_argument("--precision", default="auto")
    options.add_argument("--method", choices=get_args(Method), default="diffpir")
    options.add_argument("--compile", action="store_true")
    options = options.parse_args()
    on, schedule = device(), Schedule.linear()
    dtype = dtype_of(options.precision, on)
    plain = network(options.network).to(on)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        plain(
            torch.zeros(1, 3, options.side, options.side, device=on), torch.tensor([0], device=on)
        )
    work = counter.get_total_flops() * options.nfe
    net = place(plain, on, options.precision)
    if options.compile:
        compiled(net)
    config, spectrum = SamplerConfig(nfe=options.nfe), None
    if options.method == "diffpir-spectral":
        config = dataclasses.replace(USUAL.spectral_settings(options.nfe), nfe=options.nfe)
        spectrum = read_spectrum(builtin_path())
    step, fresh = SpectralStep.__call__, SpectralStep.fresh
    found = {}
    print(f"{'task':24} images/s  outside  noise  data step  TFLOP/s  of a matrix product's")
    with torch.inference_mode():
        matrix = rates(dtype, [], 5)["matrix product"]
    for name, operator in operators(options.side, on).items():
        parts, timed = Parts(), Timed(EpsDenoiser(net, schedule))
        with torch.inference_mode():
            y = measurement(operator, options.batch, options.side, on)
            shape = tuple(operator.initial(y).shape[1:])
            operator.prox = parts.of("data step", operator.prox)
            SpectralStep.__call__ = parts.of("data step", step)
            SpectralStep.fresh = parts.of("noise", fresh)
            for _ in range(2):
                parts.seconds.clear()
                timed.taken()
                draws = noise_stream(range(options.batch), shape, on)
                draw = parts.of("noise", lambda draws=draws: next(draws))
                synchronize()
                began = time.perf_counter()
                restore(
                    timed,
                    operator,
                    y,
                    schedule=schedule,
                    config=config,
                    noise_level=0.05,
                    noise=iter(draw, None),
                    spectrum=spectrum,
                )
                synchronize()
                seconds = time.perf_counter() - began
        inside = timed.taken()
        pixels = shape[1] * shape[2] / options.side**2
        row = {
            "images_per_second": options.batch / seconds,
            "outside_the_network": 1 - inside / seconds,
            "noise": parts.seconds["noise"] / seconds,
            "data_step": parts.seconds["data step"] / seconds,
            "tflops": work * pixels * options.batch / seconds / 1e12,
            "of_the_matrix_rate": work * pixels * options.batch / seconds / matrix,
        }
        found[name] = row
        print(
            f"{name:24} {row['images_per_second']:8.3f} {row['outside_the_network']:8.2%} "
            f"{row['noise']:6.2%} {row['data_step']:10.2%} {row['tflops']:8.3f} "
            f"{row['of_the_matrix_rate']:22.2f}",
            flush=True,
        )
    print(f"matrix product in {dtype}: {matrix / 1e12:.3f} TFLOP/s")
    write(
        options.json,
        {
            "network": options.network,
            "batch": options.batch,
            "side": options.side,
            "nfe": options.nfe,
            "precision": str(dtype),
            "method": options.method,
            "matrix_tflops": matrix / 1e12,
            "tasks": found,
        },
    )


if __name__ == "__main__":
    main()
