"""LPIPS, and the distances of sets, against direct computations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from torch.nn.functional import interpolate

from diffpir.errors import ConfigError
from diffpir.perceptual.distances import FeatureStatistics, frechet_distance, kernel_distance
from diffpir.perceptual.libraries import library
from diffpir.perceptual.lpips import WINDOW, _parts
from tests.networks import features as stand_in
from tests.support import SHARED

sizes = st.integers(1, 30)


def features_of(count: int, seed: int = 0, shift: float = 0.0) -> np.ndarray:
    """Of random images, by the stand-in network."""
    g = torch.Generator().manual_seed(seed)
    images = (torch.rand(count, 3, 16, 16, generator=g) + shift) ** (1 + seed)
    with torch.inference_mode():
        return stand_in()(images).numpy()


@given(st.lists(sizes, min_size=1, max_size=5), st.integers(0, 99))
@settings(deadline=None)
def test_statistics_of_parts_add_up_to_those_of_the_whole(counts, seed):
    whole = features_of(sum(counts) + 1, seed % 4)
    parts = np.split(whole, np.cumsum(counts))
    np.random.default_rng(seed).shuffle(parts)
    total = FeatureStatistics.of(parts[0])
    for part in parts[1:]:
        total += FeatureStatistics.of(part)
    assert total.count == len(whole)
    np.testing.assert_allclose(total.mean, whole.mean(axis=0, dtype=np.float64), rtol=1e-9)
    direct = np.cov(whole.astype(np.float64), rowvar=False)
    np.testing.assert_allclose(total.covariance, direct, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("count", [400, 4])  # 4: fewer than features, covariances are singular
def test_frechet_distance_is_the_formula_with_a_matrix_root(count):
    a, b = features_of(count, 0), features_of(count, 1, shift=0.2)
    means = [x.mean(axis=0, dtype=np.float64) for x in (a, b)]
    covariances = [np.cov(x.astype(np.float64), rowvar=False) for x in (a, b)]
    root = sqrtm(covariances[0] @ covariances[1]).real
    direct = np.square(means[0] - means[1]).sum() + np.trace(sum(covariances) - 2 * root)
    ours = frechet_distance(means[0], covariances[0], means[1], covariances[1])
    assert ours == pytest.approx(direct, rel=1e-4) and ours > 0.001
    same = frechet_distance(means[0], covariances[0], means[0], covariances[0])
    assert same == pytest.approx(0, abs=1e-9)


def test_frechet_distance_of_lines_is_known():
    """Of two normal distributions of one variable: (m - n)^2 + (s - t)^2."""
    one = np.array([3.0]), np.array([[4.0]])
    two = np.array([1.0]), np.array([[0.25]])
    assert frechet_distance(*one, *two) == pytest.approx(2**2 + 1.5**2)


def test_kernel_distance_is_the_unbiased_estimate():
    a, b = (features_of(40, i).astype(np.float64) for i in (0, 1))

    def kernel(x, y):
        return (x @ y / len(x) + 1) ** 3

    def mean(pairs):
        return np.mean([kernel(x, y) for x, y in pairs])

    def others(x):
        return [(p, q) for i, p in enumerate(x) for j, q in enumerate(x) if i != j]

    direct = mean(others(a)) + mean(others(b)) - 2 * mean([(x, y) for x in a for y in b])
    value, deviation = kernel_distance(a, b, subsets=3)
    assert value == pytest.approx(direct, rel=1e-9) and deviation < 1e-12
    same = features_of(2000, 0)
    value, deviation = kernel_distance(same[::2], same[1::2], subsets=20, size=100)
    assert abs(value) < 3 * deviation


def test_windows_cover_a_side_once():
    for side in (1, 31, WINDOW, WINDOW + 1, 5 * WINDOW - 1):
        parts = _parts(side)
        assert [i for part in parts for i in range(side)[part]] == list(range(side))
        assert max(p.stop - p.start for p in parts) <= WINDOW


def test_a_library_that_is_missing_is_named_with_its_extra():
    with pytest.raises(ConfigError, match=r"no_such_library.*diffpir-on-ray\[perceptual\]"):
        library("no_such_library")


@pytest.mark.skipif(not SHARED.exists(), reason=f"{SHARED} is not there")
def test_a_blurred_photograph_is_farther_in_features_than_the_same_one():
    """The distance tells sets of real pictures apart, whatever the network."""
    from PIL import Image

    files = sorted((SHARED / "data/eval/kodak24").glob("*.*"))[:12]
    pictures = [np.asarray(Image.open(f).convert("RGB").resize((96, 64))) for f in files]
    x = torch.tensor(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
    net = stand_in()

    def statistics(images: torch.Tensor) -> FeatureStatistics:
        with torch.inference_mode():
            return FeatureStatistics.of(net(images).numpy())

    def distance(a, b):
        return frechet_distance(a.mean, a.covariance, b.mean, b.covariance)

    blurred = interpolate(interpolate(x, scale_factor=0.25, mode="area"), scale_factor=4)
    slightly = interpolate(interpolate(x, scale_factor=0.5, mode="area"), scale_factor=2)
    true = statistics(x)
    far, near = distance(true, statistics(blurred)), distance(true, statistics(slightly))
    assert far > near > 0
