"""Several samples of the posterior of one image: their mean, their spread, the best of them."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from diffpir.config import Estimate

WIDTH = 2.0  # pixels, standard deviation of the neighbourhood that a deviation is the mean of
ONE, TWO = (math.erf(deviations / 2**0.5) for deviations in (1, 2))  # 0.683 and 0.954


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
        """(1, H, W), the standard deviation of the samples; two are needed at least.

        A few samples say little of a single value. So it is the root mean square over the channels
        and over a Gaussian neighbourhood, of those values that differ at all: what was measured
        without noise is the same in all samples, and stays certain.
        """
        assert self._squares is not None and self.count > 1, "two samples are needed"
        variance = (self._squares / (self.count - 1)).mean(dim=0, keepdim=True)
        varies = (variance > 0).to(variance)
        share = _smooth(varies)
        return varies * (_smooth(variance) / share.clamp(min=1e-6)).sqrt()


def coverage(mean: Tensor, std: Tensor, reference: Tensor, deviations: float) -> float:
    """The share of true values within so many standard deviations of the mean.

    Of a calibrated posterior 0.683 lie within one, 0.954 within two.
    """
    within = (reference - mean).abs() <= deviations * std
    return within.double().mean().item()


def calibration(mean: Tensor, std: Tensor, reference: Tensor) -> float:
    """How many times the standard deviation would have to be such that 0.683 lie within one.

    Values without a deviation do not count; NaN if there are no others.
    """
    std = std.expand_as(mean)
    ratios = ((reference - mean).abs() / std)[std > 0].flatten()
    if not len(ratios):
        return math.nan
    return ratios.kthvalue(max(1, round(ONE * len(ratios)))).values.item()


def _smooth(x: Tensor) -> Tensor:
    """(1, H, W), the mean over a Gaussian neighbourhood."""
    reach = round(3 * WIDTH)
    offsets = torch.arange(-reach, reach + 1, dtype=x.dtype, device=x.device)
    window = torch.exp(-0.5 * (offsets / WIDTH) ** 2)
    window = window / window.sum()
    padded = F.pad(x[None], (reach,) * 4, mode="replicate")
    across = F.conv2d(padded, window.reshape(1, 1, 1, -1))
    smooth: Tensor = F.conv2d(across, window.reshape(1, 1, -1, 1))[0]
    return smooth
