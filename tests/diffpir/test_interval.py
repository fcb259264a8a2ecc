"""Measurements that are intervals: cut normal distributions, and what JPEG files say."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.fft
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import trapezoid

from diffpir.operators.interval import NOISE_FLOOR, Interval, Pixels, truncated_mean
from diffpir.operators.jpeg import BlockDCT, JpegIntervals, as_stored, expected_error, upright

NUMBERS = st.floats(-60, 60)


def exact(low: float, high: float) -> float:
    """Mean of a standard normal one in an interval, by sums in float64 near its likeliest point."""
    peak = min(max(0.0, low), high)
    reach = 40 / max(1.0, abs(peak)) if peak else 12.0
    z = np.linspace(max(low, peak - reach), min(high, peak + reach), 200_001)
    weights = np.exp((peak - z) * (peak + z) / 2)
    return peak + trapezoid((z - peak) * weights, z) / trapezoid(weights, z)


@settings(deadline=None, max_examples=300)
@given(NUMBERS, st.floats(1e-3, 50))
def test_the_mean_of_a_cut_normal_distribution(low, width):
    high = low + width
    t = lambda v: torch.tensor(v, dtype=torch.float32)  # noqa: E731
    found = truncated_mean(t(0.0), t(1.0), t(low), t(high)).item()
    low, high = t(low).item(), t(high).item()
    # Rounding moves the ends themselves; what counts is the place in the interval.
    room = 2e-6 * max(abs(low), abs(high), 1)
    assert abs(found - exact(low, high)) < 2e-3 * min(width, 1) + room


@settings(deadline=None)
@given(NUMBERS, NUMBERS, st.floats(0, 50), st.floats(1e-6, 1e3))
def test_it_lies_in_the_interval_and_is_mirrored(mean, low, width, std):
    t = lambda v: torch.tensor(v, dtype=torch.float32)  # noqa: E731
    found = truncated_mean(t(mean), t(std), t(low), t(low + width))
    assert t(low) <= found <= t(low + width)
    other = truncated_mean(t(-mean), t(std), t(-low - width), t(-low))
    assert torch.allclose(found, -other, atol=1e-3 * max(width, 1e-3), rtol=1e-5)


def test_without_width_of_its_own_it_is_the_nearest_point():
    low, high = torch.tensor([1.0, -3.0, -1.0]), torch.tensor([2.0, -2.0, 1.0])
    found = truncated_mean(torch.zeros(3), torch.tensor(1e-8), low, high)
    assert torch.allclose(found, torch.tensor([1.0, -2.0, 0.0]))


def test_open_intervals():
    inf = torch.tensor(torch.inf)
    zero, one = torch.tensor(0.0), torch.tensor(1.0)
    assert truncated_mean(zero, one, -inf, inf) == 0
    half = (2 / np.pi) ** 0.5
    assert truncated_mean(zero, one, zero, inf).item() == pytest.approx(half, rel=1e-5)
    assert truncated_mean(zero, one, -inf, zero).item() == pytest.approx(-half, rel=1e-5)
    far = truncated_mean(zero, one, torch.tensor(40.0), inf).item()
    assert 40 < far == pytest.approx(40 + 1 / 40, rel=1e-4)


@settings(deadline=None)
@given(
    st.floats(-1, 1), st.floats(-1, 1), st.floats(0, 0.5), st.floats(0.005, 0.1),
    st.floats(0.01, 0.5),
)  # fmt: skip
def test_what_is_known_with_noise(mean, low, width, noise, error):
    """E[x | low <= x + n <= high] by sums over x, where x is normal and n too."""
    x = np.linspace(min(mean, low) - 8 * error, max(mean, low + width) + 8 * error, 40_001)
    prior = np.exp(-0.5 * ((x - mean) / error) ** 2)
    if width < 1e-3:  # measured
        width = 0.0
        seen = -0.5 * ((low - x) / (2 * noise)) ** 2
        seen = np.exp(seen - seen.max())
    else:
        n = scipy.stats.norm(scale=2 * noise)
        a, b = low - x, low + width - x
        seen = np.where(a > 0, n.sf(a) - n.sf(b), n.cdf(b) - n.cdf(a))
    weights = prior * seen
    if weights.sum() < 1e-100:
        return
    expected = (x * weights).sum() / weights.sum()
    bounds = [torch.full((1, 1, 1, 1), v, dtype=torch.float64) for v in (low, low + width)]
    operator = Interval(Pixels(), bounds[:1], bounds[1:], torch.tensor([noise]))
    state = torch.full((1, 1, 1, 1), mean, dtype=torch.float64)
    rho = max(noise, NOISE_FLOOR) ** 2 / error**2
    found = operator.prox(state, (state + 1) / 2, torch.tensor([rho])).item()
    assert found == pytest.approx(expected, abs=2e-3 * error)


SAMPLINGS = [
    [(1, 1)],
    [(1, 1)] * 3,
    [(1, 1), (1, 2), (1, 2)],
    [(1, 1), (2, 2), (2, 2)],
    [(1, 1), (2, 1), (2, 1)],
    [(1, 1), (1, 4), (1, 4)],
]


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_rows_of_the_transform_have_nothing_in_common(sampling):
    """``T T^T`` is diagonal where no plane mixes with another: in the planes' own space."""
    size = 16, 32
    transform = BlockDCT(size, sampling)
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(2, 3, *size, generator=generator, dtype=torch.float64)
    if len(sampling) == 1:
        x = x[:, :1].expand(-1, 3, -1, -1)
    before = transform.forward(x)
    steps = [torch.rand(c.shape, generator=generator, dtype=torch.float64) for c in before]
    after = transform.forward(transform.moved(x, steps))
    for c, step, moved in zip(before, steps, after, strict=True):
        assert torch.allclose(moved, c + step, atol=1e-9)


def test_coefficients_are_those_of_the_standard():
    rng = np.random.default_rng(0)
    levels = rng.integers(0, 256, (16, 24))
    x = torch.from_numpy(levels / 127.5 - 1).expand(1, 3, -1, -1)
    (found,) = BlockDCT((16, 24), [(1, 1)]).forward(x)
    for i in range(2):
        for j in range(3):
            block = levels[8 * i : 8 * i + 8, 8 * j : 8 * j + 8] - 128.0
            expected = scipy.fft.dctn(block, norm="ortho")
            assert np.allclose(found[0, i, j], expected, atol=1e-9)


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("size", [(16, 16), (19, 37)])
def test_what_was_stored_is_honoured(sampling, size):
    generator = torch.Generator().manual_seed(1)
    true = torch.rand(2, 3, *size, generator=generator)
    if len(sampling) == 1:
        true = true[:, :1].repeat(1, 3, 1, 1)
    planes = BlockDCT(size, sampling).forward(2 * true - 1)
    tables = [torch.full((2, 8, 8), 20.0) for _ in planes]
    stored = [torch.round(c / 20) for c in planes]
    operator = JpegIntervals(size, sampling, stored, tables)
    assert operator.kept(true).tolist() == [1, 1]
    other = torch.rand(true.shape, generator=generator)
    if len(sampling) == 1:
        other = other[:, :1].repeat(1, 3, 1, 1)
    assert operator.kept(other).max() < 0.9
    if size == (16, 16) and max(sampling)[0] * 8 <= 16 and max(sampling)[1] * 8 <= 16:
        assert operator.kept(operator.impose(other, other)).tolist() == [1, 1]
    # The surer of x, the nearer to it; the less sure, the nearer to the middle of the intervals.
    sure = operator.prox(2 * other - 1, other, 1e4)
    unsure = operator.prox(2 * other - 1, other, 1e-9)
    assert torch.allclose(sure, operator.nearest(2 * other - 1), atol=1e-2)
    middles = BlockDCT(size, sampling).forward(unsure)
    if size == (16, 16) and len(middles) == 1:
        assert torch.allclose(middles[0], 20 * stored[0], atol=0.1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_as_pillow_turns_them(orientation):
    from PIL import ExifTags, Image, ImageOps

    pixels = np.random.default_rng(0).integers(0, 256, (5, 8), np.uint8)
    picture = Image.fromarray(pixels)
    picture.getexif()[ExifTags.Base.Orientation] = orientation
    turned = upright(torch.from_numpy(pixels), orientation)
    assert np.array_equal(turned.numpy(), np.asarray(ImageOps.exif_transpose(picture)))
    assert np.array_equal(as_stored(turned, orientation).numpy(), pixels)


def test_coarser_steps_err_more():
    errors = [expected_error(torch.full((8, 8), float(step))) for step in (1, 4, 16, 64, 256, 4096)]
    assert errors == sorted(errors)
    # Fine steps: each coefficient is uniform within its step.
    assert errors[0] == pytest.approx(12**-0.5 / 127.5, rel=1e-3)
    assert errors[-1] < 1  # no picture loses more than there is
