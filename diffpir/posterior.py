"""Several samples of the posterior of one image: their mean, their spread, the best of them."""

from __future__ import annotations

import torch
from torch import Tensor

from diffpir.config import Estimate


class Posterior:
    """Samples of one image's posterior as running sums: their number costs no memory.

    Args:
        estimate: what :attr:`image` is. ``sample``: the first one. ``mean``: their mean, which has
            the least squared error to be expected. ``best``: the one whose residual is nearest
            to 1, which is that of the true image.
    """

    def __init__(self, estimate: Estimate = "mean"):
        self.estimate = estimate
        self.count = 0
        self._mean: Tensor | None = None
        self._squares: Tensor | None = None
        self._chosen: Tensor | None = None
        self._distance = float("inf")

    def add(self, x: Tensor, residual: float) -> None:
        """One more sample, (C, H, W), and its residual (:func:`diffpir.metrics.residual`)."""
        self.count += 1
        if self._mean is None or self._squares is None:
            self._mean, self._squares, self._chosen = x.clone(), torch.zeros_like(x), x.clone()
            self._distance = abs(residual - 1)
            return
        # Welford 1962: sums of squares would cancel.
        before = x - self._mean
        self._mean += before / self.count
        self._squares.addcmul_(before, x - self._mean)
        if self.estimate == "best" and abs(residual - 1) < self._distance:
            self._chosen, self._distance = x.clone(), abs(residual - 1)

    @property
    def mean(self) -> Tensor:
        """(C, H, W)."""
        assert self._mean is not None, "no sample was added"
        return self._mean

    @property
    def image(self) -> Tensor:
        """(C, H, W), the estimate asked for."""
        assert self._chosen is not None, "no sample was added"
        return self.mean if self.estimate == "mean" else self._chosen

    @property
    def std(self) -> Tensor:
        """(C, H, W), the standard deviation of the posterior; two samples are needed at least."""
        assert self._squares is not None and self.count > 1, "two samples are needed"
        return (self._squares / (self.count - 1)).sqrt()


def coverage(mean: Tensor, std: Tensor, reference: Tensor, deviations: float) -> float:
    """The share of true values within so many standard deviations of the mean.

    Of a calibrated posterior 0.683 lie within one, 0.954 within two.
    """
    within = (reference - mean).abs() <= deviations * std
    return within.double().mean().item()
