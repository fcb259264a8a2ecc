"""Several samples of a posterior."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.ndimage import gaussian_filter

from diffpir.posterior import ONE, WIDTH, Posterior, calibration, coverage


def samples(count: int, mean: float = 0.5, std: float = 0.1) -> torch.Tensor:
    return mean + std * torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("count", [2, 3, 50])
def test_running_sums_are_the_mean_and_the_deviation(count):
    posterior = Posterior()
    for x in samples(count, mean=1e3, std=0.01).double():  # sums of squares would cancel
        posterior.add(x, 1.0)
    drawn = samples(count, mean=1e3, std=0.01).double()
    assert torch.allclose(posterior.mean, drawn.mean(dim=0))
    pooled = gaussian_filter(
        drawn.var(dim=0).mean(dim=0).numpy(), WIDTH, mode="nearest", truncate=3
    )
    assert torch.allclose(posterior.std[0], torch.tensor(pooled).sqrt(), atol=1e-9)
    assert posterior.count == count and torch.equal(posterior.image, posterior.mean)


def test_the_estimates():
    drawn = samples(4)
    for estimate, expected in (("sample", drawn[0]), ("best", drawn[2])):
        posterior = Posterior(estimate)
        for x, residual in zip(drawn, (0.5, 1.3, 1.1, 0.7), strict=True):
            posterior.add(x, residual)
        assert torch.equal(posterior.image, expected)
        assert torch.allclose(posterior.mean, drawn.mean(dim=0))


def test_a_sample_is_kept_as_it_was_added():
    posterior, x = Posterior("sample"), samples(1)[0]
    posterior.add(x, 1.0)
    posterior.add(x.add_(1), 1.0)  # by one who reuses memory
    assert torch.equal(posterior.image, samples(1)[0])


@pytest.mark.parametrize("deviations", [1, 2])
def test_coverage_of_what_is_calibrated(deviations):
    reference = samples(1000)
    share = coverage(torch.tensor(0.5), torch.tensor(0.1), reference, deviations)
    assert share == pytest.approx(math.erf(deviations / math.sqrt(2)), abs=0.01)


def test_what_is_certain_stays_so_and_does_not_reassure_its_neighbours():
    """Pixels that were measured without noise are the same in all samples."""
    drawn = samples(50)
    drawn[:, :, ::2] = 0.5
    posterior = Posterior()
    for x in drawn:
        posterior.add(x, 1.0)
    assert not posterior.std[:, ::2].any()
    assert posterior.std[:, 1::2].mean().item() == pytest.approx(0.1, rel=0.05)


def test_the_scale_that_a_deviation_lacks():
    truth = samples(1000)
    mean, std = torch.full_like(truth, 0.5), torch.full((1, 8, 8), 0.04)
    scale = calibration(mean, std, truth)
    assert scale == pytest.approx(2.5, rel=0.02)
    assert coverage(mean, scale * std, truth, 1) == pytest.approx(ONE, abs=1e-4)
    assert math.isnan(calibration(mean, torch.zeros(1, 8, 8), truth))
