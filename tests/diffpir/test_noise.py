"""Noise levels told from measurements alone, against the noise that was added."""

import time
import tracemalloc

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from diffpir.errors import EstimationError
from diffpir.kernels import gaussian_kernel, stroke_kernel
from diffpir.noise import estimate_noise
from diffpir.noise_curve import estimate_noise_curve
from diffpir.operators import Downsample
from diffpir.resize import bicubic_downsample
from tests.support import SHARED

LEVELS = (0.01, 0.02, 0.05, 0.1)


def tensor(picture) -> torch.Tensor:
    values = np.atleast_3d(np.asarray(picture, np.float32) / 255)
    return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))[None]


def blur(kernel):
    return Downsample(torch.from_numpy(kernel).float()).forward


TASKS = {
    "noise alone": lambda x: x,
    "gaussian blur": blur(gaussian_kernel(25, 2.0)),
    "motion blur": blur(stroke_kernel(15, 30)),
    "reduced by 2": lambda x: bicubic_downsample(x[..., :256, :256], 2),
    "reduced by 4": lambda x: bicubic_downsample(x[..., :256, :448], 4),
}


def noisy(x: torch.Tensor, level: float, seed: int = 0) -> torch.Tensor:
    """As a file holds it: with 8 bits, cut off at black and white."""
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
    return ((x + level * noise) * 255).round().clamp(0, 255) / 255


@pytest.mark.parametrize("task", TASKS)
def test_within_15_percent_on_photographs(task):
    for name in ("astronaut", "coffee", "chelsea"):
        y = TASKS[task](tensor(getattr(data, name)()))
        for level in LEVELS:
            assert abs(estimate_noise(noisy(y, level)) / level - 1) < 0.15, (name, level)


def with_counts(x: torch.Tensor, gaussian: float, poisson: float) -> torch.Tensor:
    """Counts of light, and noise of the electronics, with 8 bits and cut off."""
    rng = np.random.default_rng(0)
    counted = rng.poisson(x.numpy() / poisson) * poisson if poisson else x.numpy()
    y = counted + gaussian * rng.standard_normal(x.shape)
    return torch.from_numpy((y * 255).round().clip(0, 255) / 255).float()


@pytest.mark.parametrize(
    "gaussian, poisson", [(0.01, 0.004), (0.02, 0.002), (0.0, 0.01), (0.005, 0.001), (0.02, 0.0)]
)
def test_what_grows_with_light_is_told_from_what_does_not(gaussian, poisson):
    """The standard deviation within 10 % at middle grey and above, 20 % in the dark."""
    for name in ("astronaut", "coffee", "chelsea", "camera"):
        y = with_counts(tensor(getattr(data, name)()), gaussian, poisson)
        found = estimate_noise_curve(y)
        for light, most in ((0.1, 0.2), (0.5, 0.1), (0.9, 0.1)):
            told, true = ((g**2 + p * light) ** 0.5 for g, p in (found, (gaussian, poisson)))
            assert abs(told / true - 1) < most, (name, light, found)


def test_a_line_of_noise_needs_windows_too():
    x, rng = tensor(data.coffee()), np.random.default_rng(0)
    half = torch.from_numpy(rng.random((400, 600)) < 0.7)
    gaussian, poisson = estimate_noise_curve(with_counts(x, 0.01, 0.01) * half, half)
    assert poisson == pytest.approx(0.01, rel=0.1) and gaussian < 0.02
    with pytest.raises(EstimationError, match="only 0 windows of 2 x 2 pixels are known"):
        estimate_noise_curve(x, torch.zeros(400, 600))


def test_within_15_percent_on_textured_photographs():
    folder = SHARED / "data" / "eval" / "kodak24"
    if not folder.is_dir():
        pytest.skip(f"the Kodak photographs are not at hand ({folder})")
    for i, file in enumerate(sorted(folder.iterdir())[::6]):
        x = tensor(Image.open(file).convert("RGB"))
        for task in TASKS.values():
            level = LEVELS[i % 4]
            assert abs(estimate_noise(noisy(task(x), level)) / level - 1) < 0.15, (file, level)


def test_grey_pictures_of_one_channel_or_three_equal_ones():
    """Less is known of them: texture is not told from noise by its colour."""
    y = noisy(blur(gaussian_kernel(25, 2.0))(tensor(data.camera())), 0.02)
    grey = estimate_noise(y)
    assert grey == pytest.approx(0.02, rel=0.05)
    assert estimate_noise(y.expand(1, 3, -1, -1)) == grey
    assert estimate_noise(noisy(tensor(data.camera()), 0.05)) == pytest.approx(0.05, rel=0.15)


def test_what_is_hidden_does_not_count():
    x, rng = tensor(data.coffee()), np.random.default_rng(0)
    y = noisy(x, 0.05)
    half = torch.from_numpy(rng.random((400, 600)) < 0.5)
    assert estimate_noise(y * half, half) == pytest.approx(0.05, rel=0.15)
    box = torch.ones(1, 1, 400, 600)
    box[..., 100:300, 100:500] = 0
    assert estimate_noise(y * box, box) == pytest.approx(0.05, rel=0.05)
    with pytest.raises(EstimationError, match="only 0 windows of 2 x 2 pixels are known"):
        estimate_noise(y, torch.zeros(400, 600))


def test_what_is_black_or_white_does_not_count():
    y = torch.full((1, 3, 200, 200), 0.5)
    y[..., :150] = 0.0  # noise is cut off there to the half
    assert estimate_noise(noisy(y, 0.1)) == pytest.approx(0.1, rel=0.05)
    for none in (torch.ones(1, 3, 64, 64), torch.rand(1, 3, 8, 8), torch.rand(1, 3, 1, 1)):
        with pytest.raises(EstimationError, match="cannot be told"):
            estimate_noise(none)


def test_a_picture_without_noise_has_none():
    ramp = torch.linspace(0.2, 0.8, 64).expand(1, 3, 64, 64)
    assert estimate_noise(ramp) < 1e-3
    assert estimate_noise(torch.full((1, 3, 64, 64), 0.3)) == 0


def test_a_large_picture_takes_little_time_and_memory():
    scene = torch.rand(1, 3, 15, 10, generator=torch.Generator().manual_seed(0)) * 0.6 + 0.2
    y = scene.repeat_interleave(400, 2).repeat_interleave(400, 3)
    y = y + 0.03 * torch.randn(y.shape)
    mask = torch.rand(y.shape[2:]) < 0.9
    tracemalloc.start()
    try:
        began = time.perf_counter()
        assert estimate_noise(y, mask) == pytest.approx(0.03, rel=0.05)
        assert time.perf_counter() - began < 10  # half a second on an idle machine
        assert tracemalloc.get_traced_memory()[1] < 300e6
    finally:
        tracemalloc.stop()


def test_a_window_counts_where_all_its_colours_are_known():
    rng = np.random.default_rng(0)
    y = torch.tensor(0.5 + 0.02 * rng.standard_normal((1, 3, 96, 96))).float()
    mask = torch.tensor(rng.random((1, 3, 96, 96)) >= 0.03)
    spoilt = torch.where(mask, y, 0.9)
    assert estimate_noise(spoilt, mask) == pytest.approx(0.02, rel=0.1)
