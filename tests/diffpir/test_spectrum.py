"""The error spectrum of a prior, and the data step that goes by it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data

from diffpir import builtin_path
from diffpir.checkpoints.checkpoint import read_spectrum
from diffpir.config import SamplerConfig
from diffpir.data_step import IsotropicStep, SpectralStep
from diffpir.errors import ConfigError
from diffpir.operators import Denoise, Downsample, Inpaint, Linear, PartialBlur, bayer, luminance
from diffpir.operators.circulant import circular_gain
from diffpir.operators.circular import filtered
from diffpir.schedule import Schedule
from diffpir.spectrum import FREQUENCIES, OPPONENT, PriorSpectrum, measure_spectrum

SCHEDULE = Schedule.linear()
MASK = (torch.rand(6, 8, generator=torch.Generator().manual_seed(3)) > 0.4).double()
KERNEL = torch.rand(3, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
KERNEL /= KERNEL.sum()


def table(error: np.ndarray | float = 1.0, pictures: float = 1.0) -> PriorSpectrum:
    """Two noise levels, five frequencies."""
    return PriorSpectrum.from_plain(
        {
            "sigmas": [0.1, 1.0],
            "frequencies": [0.05, 0.1, 0.2, 0.4, 0.7],
            "error": np.broadcast_to(error, (2, 3, 5)).tolist(),
            "pictures": np.full((3, 5), pictures).tolist(),
        }
    )


COLOURED = table(
    np.array(
        [[3.0, 1.0, 0.3, 0.1, 0.02], [0.5, 0.2, 0.1, 0.03, 0.01], [0.2, 0.2, 0.05, 0.01, 0.01]]
    )
)


def of_users() -> Linear:
    return Linear(
        lambda x: x.unflatten(-1, (-1, 2)).mean(dim=-1),
        lambda y: y.repeat_interleave(2, dim=-1) / 2,
    )


OPERATORS = {
    "denoise": Denoise,
    "blur": lambda: Downsample(KERNEL),
    "blur of each": lambda: Downsample(torch.stack([KERNEL, KERNEL.T.flip(0)])),
    "sr2": lambda: Downsample(KERNEL, 2),
    "mask": lambda: Inpaint(MASK),
    "mask of channels": lambda: Inpaint(torch.stack([MASK, 1 - MASK, MASK.flip(0)])[None]),
    "unknown": lambda: PartialBlur(KERNEL, (6, 8), boundary="unknown"),
    "reflect": lambda: PartialBlur(KERNEL, (6, 8), boundary="reflect"),
    "blur under a mask": lambda: PartialBlur(KERNEL, (6, 8), boundary="circular", mask=MASK),
    "blur under a mask of channels": lambda: PartialBlur(
        KERNEL,
        (6, 8),
        boundary="circular",
        mask=torch.stack([MASK, MASK.flip(1), MASK.flip(0)])[None],
    ),
    "sr2 unknown": lambda: PartialBlur(KERNEL, (3, 4), 2, boundary="unknown"),
    "bayer": lambda: bayer(6, 8, dtype=torch.float64),
    "luminance": lambda: luminance(torch.float64),
    "of users": of_users,
}


def scene_of(operator) -> tuple[int, ...]:
    return (2, 3, *operator.adjoint(measure(operator)).shape[2:])


def measure(operator) -> torch.Tensor:
    """A measurement of the right shape, of noise."""
    generator = torch.Generator().manual_seed(1)
    size = (3, 4) if getattr(getattr(operator, "blur", operator), "factor", 1) == 2 else (6, 8)
    if isinstance(operator, Linear):
        size = (6, 4)
    channels = (
        operator.forward(torch.zeros(1, 3, 6, 8, dtype=torch.float64)).shape[1]
        if (hasattr(operator, "weights"))
        else 3
    )
    return torch.randn(2, channels, *size, generator=generator, dtype=torch.float64)


def matrix_of(linear, shape: tuple[int, ...]) -> torch.Tensor:
    """Of a linear map of images (3, H, W), column by column, for the first of a batch of two."""
    basis = torch.eye(int(np.prod(shape[1:])), dtype=torch.float64).reshape(-1, *shape[1:])
    columns = [linear(e[None].expand(2, -1, -1, -1).contiguous())[0].flatten() for e in basis]
    return torch.stack(columns, dim=1)


def spread_by(spectrum: PriorSpectrum, sigma: float):
    """S as a map of images, from its definition: each opponent channel filtered by itself."""
    mix = torch.tensor(OPPONENT, dtype=torch.float64)

    def spread(x: torch.Tensor) -> torch.Tensor:
        power = spectrum.of_error(sigma, *x.shape[-2:], like=x)
        mixed = torch.einsum("dc,bchw->bdhw", mix, x)
        filtered = torch.fft.irfft2(torch.fft.rfft2(mixed) * power, s=x.shape[-2:])
        return torch.einsum("dc,bdhw->bchw", mix, filtered)

    return spread


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("kind", ["one", "of images", "of channels", "of pixels", "by the light"])
def test_the_step_is_the_posterior_mean(name, kind):
    operator = OPERATORS[name]()
    y = measure(operator)
    rng = torch.Generator().manual_seed(5)
    levels = 0.02 * 10 ** torch.rand(y.shape, generator=rng, dtype=torch.float64)
    weight = {
        "one": 0.02,
        "of images": torch.tensor([0.02, 0.5], dtype=torch.float64),
        "of channels": levels[:, :, :1, :1],
        "of pixels": levels[:, :1],
        "by the light": lambda x0: levels * operator.forward(x0).abs().clamp(min=0.1),
    }[kind]
    x0 = torch.randn(scene_of(operator), generator=torch.Generator().manual_seed(2)).double()
    step = SpectralStep(operator, y, weight, COLOURED, rtol=1e-12, max_iterations=500)
    found = step(x0, 0.3)[0].flatten()
    # From its definition, with matrices: x + S A^T (A S A^T + weight)^-1 (y - A x).
    a = matrix_of(operator.forward, tuple(x0.shape))
    s = matrix_of(spread_by(COLOURED, 0.3), tuple(x0.shape))
    residual = y[0].flatten() - a @ x0[0].flatten()
    weight = weight(x0) if callable(weight) else weight
    weight = weight[0] if isinstance(weight, torch.Tensor) else weight
    diagonal = torch.as_tensor(weight, dtype=torch.float64).expand_as(y[0]).flatten()
    gram = a @ s @ a.T + torch.diag(diagonal)
    expected = x0[0].flatten() + s @ a.T @ torch.linalg.solve(gram, residual)
    assert torch.allclose(found, expected, atol=1e-8)


@pytest.mark.parametrize("name", OPERATORS)
def test_with_equal_powers_it_is_diffpirs_step(name):
    operator = OPERATORS[name]()
    if isinstance(operator, PartialBlur | Linear):
        operator.rtol, operator.max_iterations = 1e-12, 500
    y = measure(operator)
    x0 = torch.randn(scene_of(operator), generator=torch.Generator().manual_seed(2)).double()
    white = table(error=0.25)  # sigma_bar^2 at 0.5
    step = SpectralStep(operator, y, 0.03, white, rtol=1e-12, max_iterations=500)
    usual = IsotropicStep(operator, y, 0.03, SamplerConfig())
    assert torch.allclose(step(x0, 0.5), usual(x0, 0.5), atol=1e-7)


def posterior(operator, weight: float, sigma: float) -> torch.Tensor:
    """(3 H W, 3 H W), the covariance of what is wrong with the step's image."""
    shape = scene_of(operator)
    a = matrix_of(operator.forward, shape)
    s = matrix_of(spread_by(COLOURED, sigma), shape)
    gram = a @ s @ a.T + weight * torch.eye(len(a), dtype=torch.float64)
    return s - s @ a.T @ torch.linalg.solve(gram, a @ s)


def powers_of(covariance: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """(3, H, W // 2 + 1), the power of each opponent channel at each frequency."""
    mix = torch.tensor(OPPONENT, dtype=torch.float64)
    c = covariance.reshape(3, height, width, 3, height, width)
    c = torch.einsum("dc,chwgij,dg->dhwij", mix, c, mix).to(torch.complex128)
    c = torch.fft.ifft2(torch.fft.fft2(c, dim=(1, 2)), dim=(3, 4))
    diagonal = torch.einsum("dhwhw->dhw", c).real
    return diagonal[..., : width // 2 + 1]


@pytest.mark.parametrize("name", ["denoise", "blur", "blur of each", "sr2"])
def test_what_the_step_leaves_wrong_is_the_posteriors_variance(name):
    operator = OPERATORS[name]()
    y = measure(operator)
    x0 = torch.randn(scene_of(operator), generator=torch.Generator().manual_seed(2)).double()
    step = SpectralStep(operator, y, 0.02, COLOURED)
    step(x0, 0.3)
    wanted = powers_of(posterior(operator, 0.02, 0.3), *x0.shape[-2:])
    found = step.error_left(*x0.shape[-2:])
    assert torch.allclose(found.expand(2, *wanted.shape)[0], wanted, atol=1e-10)


@pytest.mark.parametrize("name", OPERATORS)
def test_with_fresh_noise_all_that_is_wrong_is_white(name):
    """Where no more is wrong than the noise level; elsewhere no noise is added."""
    operator = OPERATORS[name]()
    y = measure(operator)
    x0 = torch.randn(scene_of(operator), generator=torch.Generator().manual_seed(2)).double()
    height, width = x0.shape[-2:]
    step = SpectralStep(operator, y, 0.02, COLOURED)
    z = torch.randn(x0.shape, generator=torch.Generator().manual_seed(6)).double()
    assert torch.equal(step.fresh(z, 0.3), z)  # nothing is known yet
    step(x0, 0.3)
    if step.error_left is None:  # luminance, of users
        assert name in ("luminance", "of users")
        assert torch.equal(step.fresh(z, 0.3), z)
        return
    left = step.error_left(height, width)
    assert (left >= -1e-12).all()
    assert (left <= COLOURED.of_error(0.3, height, width, x0) + 1e-12).all()
    mix = torch.tensor(OPPONENT, dtype=torch.float64)
    for sigma in (0.1, 0.5):
        added = torch.fft.rfft2(torch.einsum("dc,bchw->bdhw", mix, step.fresh(z, sigma)))
        white = torch.fft.rfft2(torch.einsum("dc,bchw->bdhw", mix, z))
        total = sigma**2 * (added / white).abs() ** 2 + left
        assert torch.allclose(total, left.clamp(min=sigma**2).expand_as(total), atol=1e-9)


@pytest.mark.parametrize("weight", [1e-6, 0.02])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_what_scattered_pixels_leave_wrong_is_the_posteriors_variance_on_average(weight, share):
    generator = torch.Generator().manual_seed(7)
    found, wanted = [], []
    for _ in range(60):
        operator = Inpaint((torch.rand(6, 8, generator=generator) < share).double())
        step = SpectralStep(operator, measure(operator), weight, COLOURED)
        step(torch.zeros(2, 3, 6, 8, dtype=torch.float64), 0.3)
        found.append(step.error_left(6, 8)[0])
        wanted.append(powers_of(posterior(operator, weight, 0.3), 6, 8))
    ratio = torch.stack(found).mean(dim=0) / torch.stack(wanted).mean(dim=0)
    assert ratio.min() > 0.85 and ratio.max() < 1.15


@pytest.mark.parametrize("known", [0.0, 1.0])
def test_a_mask_that_hides_all_or_nothing_leaves_what_it_must(known):
    operator = Inpaint(torch.full((6, 8), known, dtype=torch.float64))
    step = SpectralStep(operator, measure(operator), 0.02, COLOURED)
    step(torch.zeros(2, 3, 6, 8, dtype=torch.float64), 0.3)
    power = COLOURED.of_error(0.3, 6, 8, like=torch.zeros(1, dtype=torch.float64))
    wanted = power * 0.02 / (power + 0.02) if known else power
    assert torch.allclose(step.error_left(6, 8), wanted, rtol=1e-6)


def test_an_operator_like_a_blur_is_preconditioned_as_one():
    """Four applications of A in place of some thirty, and the blur's own result."""
    blur = Downsample(torch.outer(*[torch.ones(5, dtype=torch.float64) / 5] * 2))
    calls = []

    def forward(x: torch.Tensor) -> torch.Tensor:
        calls.append(None)
        return blur.forward(x)

    y = torch.randn(2, 3, 32, 48, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x0 = torch.randn(2, 3, 32, 48, generator=torch.Generator().manual_seed(2)).double()
    wanted = SpectralStep(blur, y, 1e-3, COLOURED)(x0, 0.3)
    found = SpectralStep(Linear(forward, blur.adjoint), y, 1e-3, COLOURED)(x0, 0.3)
    assert len(calls) <= 5 and torch.allclose(found, wanted, atol=1e-8)


@given(st.integers(0, 100))
def test_only_what_resembles_a_convolution_has_its_gain(seed):
    y = torch.zeros(1, 2, 16, 12, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    kernel = torch.rand(3, 3, generator=generator, dtype=torch.float64)
    gram = Downsample(kernel).gram
    gain = circular_gain(gram, y)
    r = torch.randn(y.shape, generator=generator, dtype=torch.float64)
    assert gain is not None and torch.allclose(filtered(r, gain), gram(r))
    mask = (torch.rand(16, 12, generator=generator) > 0.5).double()
    assert circular_gain(lambda d: mask * d, y) is None


def test_the_start_knows_the_colour_of_a_large_hole():
    """Its few iterations are enough, though the pictures' powers differ by 10^4."""
    photo = torch.from_numpy(data.astronaut()[:128, 150:278]).permute(2, 0, 1)[None].float() / 127.5
    mask = torch.ones(128, 128)
    mask[32:96, 32:96] = 0
    operator = Inpaint(mask)
    y = operator.forward(photo - 1)
    guess = photo - 1
    spectrum = read_spectrum(builtin_path())
    found = SpectralStep(operator, y, 1e-7, spectrum).start(guess)
    exact = SpectralStep(operator, y, 1e-7, spectrum, rtol=1e-6, max_iterations=1000).start(guess)
    hole = (1 - mask).bool()
    assert (found - exact)[..., hole].mean(dim=-1).abs().max() < 0.05


def test_where_the_last_step_ended_the_next_begins():
    """It changes what a few iterations reach, never where many end."""
    operator = Inpaint(MASK)
    y = measure(operator)
    x0 = torch.randn(2, 3, 6, 8, generator=torch.Generator().manual_seed(2)).double()
    exact = SpectralStep(operator, y, 0.02, COLOURED, rtol=1e-12, max_iterations=500)
    wanted = exact(x0, 0.3)
    warm = SpectralStep(operator, y, 0.02, COLOURED, rtol=1e-12, max_iterations=500)
    warm(x0 + 0.1, 0.4)
    assert torch.allclose(warm(x0, 0.3), wanted, atol=1e-8)
    few = [
        SpectralStep(operator, y, 0.02, COLOURED, rtol=1e-12, max_iterations=2) for _ in range(2)
    ]
    few[1].last = exact.last.copy()
    cold, warm_error = ((step(x0, 0.3) - wanted).norm() for step in few)
    assert warm_error < 0.1 * cold


@pytest.mark.parametrize("name", OPERATORS)
def test_channels_of_large_images_are_solved_one_by_one(name, monkeypatch):
    operator = OPERATORS[name]()
    y = measure(operator)
    x0 = torch.randn(scene_of(operator), generator=torch.Generator().manual_seed(2)).double()
    found = []
    for at_once in (2**23, 1):
        monkeypatch.setattr("diffpir.data_step.AT_ONCE", at_once)
        step = SpectralStep(operator, y, 0.02, COLOURED, rtol=1e-12, max_iterations=500)
        step(x0 + 0.1, 0.4)
        found.append(step(x0, 0.3))
    assert torch.allclose(*found, atol=1e-8)


@given(st.floats(0.01, 50), st.integers(2, 40), st.integers(2, 40))
@settings(deadline=None, max_examples=50)
def test_powers_lie_between_those_of_the_table(sigma, height, width):
    rising = table(np.array([0.5, 2.0])[:, None, None])
    power = rising.of_error(sigma, height, width, like=torch.zeros(1, dtype=torch.float64))
    assert power.shape == (3, height, width // 2 + 1)
    # In the logarithm of sigma, from 0.1 to 1.
    share = np.clip(np.log(sigma / 0.1) / np.log(10), 0, 1)
    assert torch.allclose(power, torch.tensor(0.5 * 4**share, dtype=torch.float64))


def test_a_spectrum_is_radial_and_the_same_for_any_size():
    small, large = (COLOURED.of_error(0.3, n, n, like=torch.zeros(1)) for n in (32, 64))
    assert torch.allclose(small[:, :16, :17], large[:, :32:2, :33:2], rtol=0.02)
    assert torch.allclose(large[:, 1, 0], large[:, -1, 0])


def test_what_is_measured_of_a_known_error():
    """A denoiser that adds white noise to the grey channel alone, a tenth of sigma."""
    generator = torch.Generator().manual_seed(0)
    pictures = [0.5 + 0.02 * torch.randn(3, 64, 80, generator=generator) for _ in range(8)]
    truth = {}

    def denoise(x_t, t):
        x0 = truth["x"]
        return x0 + 0.1 * SCHEDULE.sigma_bar[t] * torch.randn(
            1, 1, *x0.shape[-2:], generator=generator
        ).clamp(-2, 2)

    def remembering(x_t, t):  # the sampler's denoiser is not told the truth
        index = remembering.calls % len(pictures)
        remembering.calls += 1
        truth["x"] = 2 * pictures[index][None] - 1
        return denoise(x_t, t)

    remembering.calls = 0
    told = []
    spectrum = measure_spectrum(
        remembering,
        pictures,
        schedule=SCHEDULE,
        evaluations=80,
        on_evaluation=lambda done, total: told.append((done, total)),
    )
    assert told == [(i, 80) for i in range(1, 81)]
    variance = torch.randn(100000, generator=generator).clamp(-2, 2).var().item()
    for sigma, (grey, red, green) in zip(spectrum.sigmas[:5], spectrum.error, strict=False):
        expected = 3 * (0.1 * sigma) ** 2 * variance  # of (1, 1, 1) / sqrt(3)
        assert np.mean(grey[8:]) == pytest.approx(expected, rel=0.1)
        assert max(red) < 1e-6 * expected + 1e-11 and max(green) < 1e-6 * expected + 1e-11
    assert np.mean(spectrum.pictures) == pytest.approx(0.04**2, rel=0.1)


def test_a_spectrum_survives_being_written():
    spectrum = table(0.1)
    assert PriorSpectrum.from_plain(spectrum.plain()) == spectrum
    assert len(FREQUENCIES) == 20


@pytest.mark.parametrize(
    "change, words",
    [
        ({"sigmas": [1.0, 0.1]}, "sigmas must rise"),
        ({"sigmas": [0.1]}, "shape"),
        ({"error": [[1.0]]}, "error has the shape"),
        ({"error": "x"}, "error is no array"),
        ({"pictures": [[-1.0] * 5] * 3}, "pictures must be from"),
        ({"pictures": [[float("nan")] * 5] * 3}, "pictures must be from"),
        ({"frequencies": [[1] * 5, 3]}, "frequencies is no array"),
        ({"more": 1}, "has the fields"),
    ],
)
def test_what_is_no_spectrum(change, words):
    with pytest.raises(ConfigError, match=words):
        PriorSpectrum.from_plain(table().plain() | change)


def test_too_few_pictures():
    with pytest.raises(ValueError, match="two pictures"):
        measure_spectrum(lambda x, t: x, [torch.zeros(3, 64, 64)], schedule=SCHEDULE)
