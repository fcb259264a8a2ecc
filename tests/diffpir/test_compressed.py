"""Pictures that were blurred, noisy, and then compressed."""

from __future__ import annotations

import itertools

import pytest
import torch

from diffpir.checkpoints.builtin import builtin_path
from diffpir.checkpoints.checkpoint import read_spectrum
from diffpir.data_step import SpectralStep
from diffpir.kernels import gaussian_kernel
from diffpir.operators import Compressed, Denoise, Downsample, Interval, Pixels

SIZE = 32


def known(operator, true, width: float, noise: float):
    """The operator, and that of what a quantiser of this width leaves of ``A x + n``."""
    generator = torch.Generator().manual_seed(1)
    y = operator.forward(true)
    y = y + 2 * noise * torch.randn(y.shape, generator=generator, dtype=y.dtype)
    low = (y / width).floor() * width
    stored = Interval(Pixels(), [low], [low + width], noise)
    return y, Compressed(operator, stored)


@pytest.fixture
def scene():
    generator = torch.Generator().manual_seed(0)
    smooth = torch.nn.functional.interpolate(
        torch.rand(1, 3, 8, 8, generator=generator, dtype=torch.float64), SIZE, mode="bicubic"
    )
    return 1.4 * smooth - 0.7


def blur() -> Downsample:
    return Downsample(torch.from_numpy(gaussian_kernel(7, 1.0)))


@pytest.mark.parametrize("operator", [Denoise(), blur()])
def test_fine_steps_leave_the_linear_data_step(operator, scene):
    y, compressed = known(operator, scene, 1e-4, 0.02)
    state = scene + 0.1
    found = compressed.prox(state, y, 0.01)
    assert torch.allclose(found, operator.prox(state, y, 0.01), atol=1e-3)


@pytest.mark.parametrize("operator", [Denoise(), blur()])
def test_every_round_makes_what_was_stored_likelier(operator, scene):
    """Expectation maximisation: the objective never falls, and more rounds end at its maximum."""
    noise, error = 0.02, 0.1
    _, compressed = known(operator, scene, 0.3, noise)
    rho = (noise / error) ** 2 * 4  # of noise 2 sigma_n and this error on [-1, 1]
    state = scene + 0.1

    def objective(x: torch.Tensor) -> float:
        (low,), (high,) = compressed.stored.low, compressed.stored.high
        normal = torch.distributions.Normal(operator.forward(x), 2 * noise)
        seen = (normal.cdf(high) - normal.cdf(low)).clamp(min=1e-300).log().sum()
        return (seen - (x - state).square().sum() / (2 * error**2)).item()

    z, values = state, [objective(state)]
    for _ in range(12):
        z = operator.prox(state, compressed.expected(z), rho)
        values.append(objective(z))
    assert all(later >= before - 1e-6 for before, later in itertools.pairwise(values))
    assert values[-1] - values[-2] < 0.05 * (values[1] - values[0])


def test_the_spectral_step_goes_the_same_way(scene):
    """Nearer to the scene than with the stored values taken for the measured ones."""
    operator, scene = Downsample(torch.from_numpy(gaussian_kernel(7, 1.0)).float()), scene.float()
    _, compressed = known(operator, scene, 0.25, 0.01)
    (low,), (high,) = compressed.stored.low, compressed.stored.high
    middle = (low + high) / 2
    spectrum = read_spectrum(builtin_path())
    weight = 2.0 * 0.01**2
    generator = torch.Generator().manual_seed(2)
    state = scene + 0.1 * torch.randn(scene.shape, generator=generator)
    errors = [
        (SpectralStep(a, middle, weight, spectrum)(state, 0.3) - scene).square().mean().item()
        for a in (compressed, operator)
    ]
    assert errors[0] < errors[1]
