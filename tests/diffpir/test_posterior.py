"""Several samples of a posterior."""

from __future__ import annotations

import math

import pytest
import torch

from diffpir.posterior import Posterior, coverage


def samples(count: int, mean: float = 0.5, std: float = 0.1) -> torch.Tensor:
    return mean + std * torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("count", [2, 3, 50])
def test_running_sums_are_the_mean_and_the_deviation(count):
    posterior = Posterior()
    for x in samples(count, mean=1e3, std=0.01).double():  # sums of squares would cancel
        posterior.add(x, 1.0)
    drawn = samples(count, mean=1e3, std=0.01).double()
    assert torch.allclose(posterior.mean, drawn.mean(dim=0))
    assert torch.allclose(posterior.std, drawn.std(dim=0), atol=1e-9)
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
