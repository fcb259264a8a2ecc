"""The embedded prior is a prior: on photographs that it has not seen, it gains decibels."""

import numpy as np
import pytest
import torch

from diffpir import (
    Denoise,
    Downsample,
    EpsDenoiser,
    Inpaint,
    SamplerConfig,
    Schedule,
    builtin_path,
    gaussian_kernel,
    load_model,
    noise_stream,
    restore,
)
from diffpir.kernels import bicubic_kernel
from diffpir.metrics import fill_hidden, psnr
from diffpir.networks.precision import place
from diffpir.synthesis import synthesise
from pipeline.tasks.row import to_tensor
from tests.pictures import photograph


@pytest.fixture(scope="module")
def denoise():
    return EpsDenoiser(place(load_model(builtin_path())), Schedule.linear())


@pytest.fixture(scope="module")
def clean():
    names = ("astronaut", "chelsea", "coffee", "rocket")
    pictures = [to_tensor(np.asarray(photograph(256, 256, name))) for name in names]
    return torch.cat(pictures)[..., 64:192, 64:192]


@pytest.mark.parametrize("t, at_least", [(20, 4.0), (200, 14.0), (600, 25.0)])
def test_one_evaluation_removes_noise(denoise, clean, t, at_least):
    x, a = 2 * clean - 1, float(denoise.schedule.alpha_bar[t])
    noisy = x + denoise.schedule.sigma_bar[t] * torch.randn(
        x.shape, generator=torch.Generator().manual_seed(0)
    )
    x0 = denoise((a**0.5 * noisy).float(), t).clamp(-1, 1)
    gain = 10 * torch.log10((noisy - x).square().mean() / (x0 - x).square().mean())
    assert gain > at_least


MASK = (torch.rand(128, 128, generator=torch.Generator().manual_seed(1)) < 0.5).float()
BLUR = Downsample(torch.tensor(gaussian_kernel(61, 3.0)).float())
REDUCTION = Downsample(torch.tensor(bicubic_kernel(4)).float(), 4)
# Operator, noise, settings, and the gain in dB that is expected at least.
TASKS = {
    "inpainting": (Inpaint(MASK), 0.0, {"nfe": 20, "first_timestep": 60}, 1.5),
    "deblurring": (BLUR, 0.05, {"nfe": 20, "lam": 5}, 1.5),
    # Without the bound it ends far below what was measured.
    "deblurring, few steps": (BLUR, 0.05, {"nfe": 5, "lam": 5, "prior_std": 1.0}, 1.5),
    "super-resolution": (REDUCTION, 0.05, {"nfe": 20, "lam": 3}, 0.8),
    "denoising": (Denoise(), 0.1, {"nfe": 20, "lam": 15}, 5.0),
}


@pytest.mark.parametrize("task", TASKS)
def test_restoring_beats_what_one_has_without_a_prior(denoise, clean, task):
    operator, sigma, settings, at_least = TASKS[task]
    y = torch.cat([synthesise(clean[i : i + 1], operator, sigma, i) for i in range(4)])
    baseline = fill_hidden(y, MASK) if task == "inpainting" else operator.initial(y)
    noise, start = noise_stream(range(4), (3, 128, 128)), settings.get("first_timestep")
    x = restore(
        denoise,
        operator,
        y,
        schedule=denoise.schedule,
        config=SamplerConfig(zeta=1.0, **settings),
        noise_level=sigma,
        noise=noise,
        x_start=start and denoise.schedule.diffuse(2 * baseline - 1, start, next(noise)),
    )
    gain = psnr(x, clean) - psnr(baseline.clamp(0, 1), clean)
    assert gain.mean() > at_least
