"""What it gains to know that noise grows with light, and how well that is told from a picture.

    python benchmarks/shot_noise.py SET [SET ...] -o OUT [--limit 4] [--side 256] [--nfe 12]

Central squares of each set's pictures get noise with the variance g^2 + p x, counts of light and
all, and 8 bits; they are restored with the embedded prior and the task's usual method and settings
by one level (the root mean square of the true standard deviation, which is the best one), by the
model (in each step from the light of x0), by the model as estimated from the measurement, and by
the model with the measurement itself for x. PSNR in dB, on the whole and of dark pixels (mean of
the channels below 0.2). The images of each set's first picture are kept in OUT, to look at. With
``--estimates`` only the estimator's errors are told, of the standard deviation at three lights.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tasks import square_manifest
from torch import Tensor

from diffpir import (
    Denoise,
    Downsample,
    EpsDenoiser,
    Schedule,
    builtin_path,
    gaussian_kernel,
    load_model,
    metrics,
    noise_stream,
    restore,
)
from diffpir.checkpoints.checkpoint import read_spectrum
from diffpir.networks.precision import dtype_of, place
from diffpir.noise_curve import estimate_noise_curve
from diffpir.noise_model import NoiseModel
from diffpir.synthesis import synthesise
from manifests.read import read_manifest
from pipeline.tasks import TASKS
from pipeline.tasks.row import to_tensor

NOISES = ((0.01, 0.004), (0.01, 0.02))  # g, p
DARK = 0.2
LIGHTS = (0.1, 0.5, 0.9)
BLUR = torch.from_numpy(gaussian_kernel(25, 2.0)).float()
OPERATORS = {"denoise": Denoise(), "deblur": Downsample(BLUR)}


def pictures(files: list[str]) -> Iterator[Tensor]:
    for file in files:
        with Image.open(file) as opened:
            yield to_tensor(np.asarray(opened))


def measured(x: Tensor, operator, model: NoiseModel, seed: int) -> Tensor:
    """As a file of 8 bits has it."""
    return (synthesise(x, operator, model, seed).clamp(0, 1) * 255).round() / 255


def estimates(files: list[str]) -> None:
    print("task      g      p      relative error of the standard deviation: median, 90 % below")
    for name, operator in OPERATORS.items():
        for g, p in (*NOISES, (0.005, 0.001), (0.02, 0.0)):
            errors = []
            for seed, x in enumerate(pictures(files)):
                found = estimate_noise_curve(measured(x, operator, NoiseModel(g, p), seed))
                errors.append(
                    [((found[0] ** 2 + found[1] * x) / (g**2 + p * x)) ** 0.5 - 1 for x in LIGHTS]
                )
            told = "   ".join(
                f"at {light}: {np.median(e):+.1%}, {np.percentile(abs(e), 90):.1%}"
                for light, e in zip(LIGHTS, np.array(errors).T, strict=True)
            )
            print(f"{name:8} {g:5} {p:6}   {told}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="+", help="folders of pictures")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=4, help="pictures of each set")
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--nfe", type=int, default=12)
    parser.add_argument("--tasks", nargs="+", choices=OPERATORS, default=list(OPERATORS))
    parser.add_argument("--estimates", action="store_true")
    given = parser.parse_args()
    manifest = square_manifest(given.sets, given.output, side=given.side, limit=given.limit)
    files = read_manifest(str(manifest))["image"].to_pylist()
    if given.estimates:
        estimates(files)
        return
    schedule, device, path = Schedule.linear(), torch.device("cpu"), builtin_path()
    net = place(load_model(path, dtype_of("auto", device)), device, "auto")
    denoise, spectrum = EpsDenoiser(net, schedule), read_spectrum(path)
    for name in given.tasks:
        operator = OPERATORS[name]
        usual = TASKS[name].presets[name].spectral_settings(given.nfe)
        config = dataclasses.replace(usual, nfe=given.nfe)
        for g, p in NOISES:
            scores: dict[str, list[list[float]]] = defaultdict(list)
            model = NoiseModel(g, p)
            for seed, x in enumerate(pictures(files)):
                y = measured(x, operator, model, seed)
                ways = {
                    "level": model.rms(operator.forward(x)),
                    "model": model,
                    "estimated": NoiseModel(*estimate_noise_curve(y)),
                    "by y": NoiseModel(model.std(y)),
                }
                shown = [x, y]
                for way, noise in ways.items():
                    began = time.perf_counter()
                    with torch.inference_mode():
                        found = restore(
                            denoise, operator, y, schedule=schedule, config=config,
                            noise_level=noise, noise=noise_stream([seed], x.shape[1:]),
                            spectrum=spectrum,
                        )  # fmt: skip
                    seconds = time.perf_counter() - began
                    scores[way].append([*score(found, x), fit(found, operator, y, model), seconds])
                    shown.append(found)
                if seed % given.limit == 0:
                    strip = (torch.cat(shown, dim=3)[0].clamp(0, 1) * 255).round()
                    file = given.output / f"{name}-{g}-{p}-{seed}.png"
                    Image.fromarray(strip.permute(1, 2, 0).byte().numpy()).save(file)
            base = np.array(scores["level"])
            for way, rows in scores.items():
                mean = np.array(rows).mean(axis=0)
                gain = np.array(rows)[:, :2] - base[:, :2]
                error = np.nanstd(gain, axis=0, ddof=1) / len(gain) ** 0.5
                print(
                    f"{name:8} {g} {p} {way:10} {mean[0]:6.2f} dB {gain[:, 0].mean():+.2f} "
                    f"({error[0]:.2f}), least {gain[:, 0].min():+.2f}; dark "
                    f"{np.nanmean(gain[:, 1]):+.2f} ({error[1]:.2f}); SSIM {mean[2]:.3f}; "
                    f"residual {mean[3]:.2f}; {mean[4]:.1f} s",
                    flush=True,
                )


def score(found: Tensor, x: Tensor) -> tuple[float, float, float]:
    """PSNR of the whole and of dark pixels (NaN where there are few), and SSIM."""
    error = (found.clamp(0, 1) - x).square().mean(dim=1)
    dark = x.mean(dim=1) < DARK
    of_dark = -10 * error[dark].mean().log10().item() if dark.float().mean() > 0.01 else np.nan
    ssim = metrics.ssim(found.clamp(0, 1), x).item()
    return -10 * error.mean().log10().item(), of_dark, ssim


def fit(found: Tensor, operator, y: Tensor, model: NoiseModel) -> float:
    return metrics.residual(found.clamp(0, 1), operator, y, model).item()


if __name__ == "__main__":
    main()
