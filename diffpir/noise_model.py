"""What the noise of a measurement is like where it is not the same everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

DARK = 3 / 8
"""Counts that a value is taken to have at least, where its variance is wanted (Anscombe's): of a
pixel that counted nothing, several may have been expected."""


@dataclass(frozen=True)
class NoiseModel:
    """Noise whose strength depends on the light, the channel or the pixel, as a camera makes it.

    The variance is ``var(n) = gaussian^2 + poisson a``, where ``a = A x`` is what would have been
    measured without noise, on [0, 1]. Levels for each channel or each pixel are tensors with four
    axes that broadcast against y, (B, c, h, w).

    Attributes:
        gaussian: the standard deviation of the part that does not depend on the light, 0 or more.
        poisson: the variance at a = 1 of the part that does (shot noise), 0 or more. It is 1 over
            the number of photons that make white.

    Examples:
        >>> import torch
        >>> from diffpir import NoiseModel
        >>> camera = NoiseModel(gaussian=0.01, poisson=0.004)
        >>> camera.std(torch.full((1, 1, 1, 1), 0.5)).item()  # doctest: +ELLIPSIS
        0.0458...
    """

    gaussian: float | Tensor
    poisson: float | Tensor = 0.0

    def variance(self, a: Tensor) -> Tensor:
        """Of the noise of each value; four axes that broadcast against a."""
        gaussian = _four_axes(self.gaussian, a)
        if not self.counts:
            return gaussian**2
        poisson = _four_axes(self.poisson, a)
        return gaussian**2 + poisson * torch.maximum(a.clamp(max=1), DARK * poisson)

    def std(self, a: Tensor) -> Tensor:
        """Square root of :meth:`variance`."""
        return self.variance(a).sqrt()

    def rms(self, y: Tensor, known: Tensor | None = None) -> float:
        """The root mean square of the standard deviations, taking y (1, c, h, w) for a.

        Args:
            y: a measurement.
            known: which of its values count, bool, like y; None for all.
        """
        variance = self.variance(y).expand_as(y)
        return (variance if known is None else variance[known.expand_as(y)]).mean().sqrt().item()

    @classmethod
    def together(cls, models: Sequence[NoiseModel]) -> NoiseModel:
        """That of a batch, of the models of its images; all of them count light, or none."""
        gaussian = torch.cat([_four_axes(m.gaussian) for m in models])
        if not models[0].counts:
            return cls(gaussian)
        return cls(gaussian, torch.cat([_four_axes(m.poisson) for m in models]))

    @property
    def counts(self) -> bool:
        """Whether any of it depends on light."""
        return isinstance(self.poisson, Tensor) or self.poisson > 0


def _four_axes(level: float | Tensor, like: Tensor | None = None) -> Tensor:
    level = torch.as_tensor(level) if like is None else torch.as_tensor(level).to(like)
    return level if level.ndim == 4 else level.reshape(-1, 1, 1, 1)
