"""Operators that look at each pixel alone."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from diffpir.operators.circular import filtered
from diffpir.operators.protocol import Map, Power, Rho, batched_mask, per_image

ROUNDS = 3  # of :func:`without_holes`; more change nothing above 2 %


def inverse_filter(rho: Rho, power: Power) -> Map:
    """``(S + rho)^-1``."""

    @cache
    def spectrum(height: int, width: int) -> Tensor:
        variance = power(height, width)
        return 1 / (variance + per_image(rho, variance))

    return lambda r: filtered(r, spectrum(*r.shape[-2:]))


def error_left(rho: Rho, power: Power) -> Power:
    """``S rho / (S + rho)``, what is left wrong where all pixels are measured."""

    def left(height: int, width: int) -> Tensor:
        variance = power(height, width)
        return variance / (1 + variance / per_image(rho, variance))

    return left


def without_holes(rho: Rho, variance: Tensor, share: Tensor, width: int) -> Tensor:
    """The noise of a measurement of all pixels that tells as much as one of a share of them.

    That is what scattered pixels, each known with the same probability, tell of a Gaussian scene:
    the fixed point of vector approximate message passing (Rangan et al. 2019).

    Args:
        rho: the variance of the noise, a number or (B, 1, 1, 1).
        variance: (C, H, W // 2 + 1), the power spectrum of the scene.
        share: (B, 1, 1, 1), of the pixels.
        width: W.

    Returns:
        (B, C, 1, 1), infinite where nothing is known.
    """
    twice = variance.new_full((variance.shape[-1],), 2.0)  # rfft2 leaves half of them out
    twice[0] = 1
    if width % 2 == 0:
        twice[-1] = 1

    def of_pixels(power: Tensor) -> Tensor:
        return (power * twice).sum(dim=(-2, -1), keepdim=True) / (power.shape[-2] * width)

    least = 1 / of_pixels(variance)
    told = torch.zeros_like(share * least)  # the precision of that measurement
    for _ in range(ROUNDS):
        # What the other pixels tell of one, as a precision; and so what the pixels tell in all.
        others = (1 / of_pixels(variance / (1 + variance * told)) - told).clamp(min=least)
        told = 1 / (share / (others + 1 / rho) + (1 - share) / others) - others
    return 1 / told


class Denoise:
    """Noise alone: the measurement is the scene itself with noise, ``A = I``.

    Examples:
        >>> import torch
        >>> from diffpir import Denoise
        >>> x = torch.rand(1, 3, 8, 8)
        >>> torch.equal(Denoise().forward(x), x)
        True
    """

    alike = exact = True

    def forward(self, x: Tensor) -> Tensor:
        return x

    def adjoint(self, y: Tensor) -> Tensor:
        return y

    def prox(self, x: Tensor, y: Tensor, rho: Rho) -> Tensor:
        return x + (y - x) / (1 + per_image(rho, x))

    def inverse(self, rho: Rho, power: Power) -> Map:
        return inverse_filter(rho, power)

    def error_left(self, rho: Rho, power: Power) -> Power:
        return error_left(rho, power)

    def spectral(self, r: Tensor, f: Map) -> Tensor:
        return f(r.new_ones(1, 1, 1, 1)) * r

    def initial(self, y: Tensor) -> Tensor:
        return y

    def impose(self, x: Tensor, y: Tensor) -> Tensor:
        return y

    def frame(self, x: Tensor) -> Tensor:
        return x


class Inpaint:
    """Hide pixels: only the known ones are measured, ``A = diag(m)``.

    Args:
        mask: (H, W), (1, H, W) or (B, 1 or C, H, W); 1 where a pixel is known and 0 where it is
            hidden.

    Raises:
        ValueError: the mask holds other values, or has other axes.

    Examples:
        >>> import torch
        >>> from diffpir import Inpaint
        >>> mask = torch.ones(8, 8)
        >>> mask[2:6, 2:6] = 0
        >>> Inpaint(mask).forward(torch.ones(1, 3, 8, 8)).sum().item()
        144.0
    """

    exact = False

    def __init__(self, mask: Tensor):
        if not torch.all((mask == 0) | (mask == 1)):
            raise ValueError("a mask holds 0 (hidden) and 1 (known) only")
        self.mask = batched_mask(mask)
        self.alike = self.mask.shape[1] == 1

    def forward(self, x: Tensor) -> Tensor:
        return self.mask * x

    def adjoint(self, y: Tensor) -> Tensor:
        return self.mask * y

    def prox(self, x: Tensor, y: Tensor, rho: Rho) -> Tensor:
        return x + self.mask * (y - x) / (1 + per_image(rho, x))

    def inverse(self, rho: Rho, power: Power) -> Map:
        whole = inverse_filter(rho, power)
        if not self.alike:  # a mask of each channel hides nothing of their mixtures
            return whole
        return lambda r: torch.where(self.mask == 1, whole(self.mask * r), r / per_image(rho, r))

    def error_left(self, rho: Rho, power: Power) -> Power:
        share = self.mask.mean(dim=(1, 2, 3), keepdim=True)

        def left(height: int, width: int) -> Tensor:
            variance = power(height, width)
            noise = without_holes(per_image(rho, variance), variance, share.to(variance), width)
            return error_left(noise, power)(height, width)

        return left

    def spectral(self, r: Tensor, f: Map) -> Tensor:
        return f(self.mask.to(r)) * r

    def initial(self, y: Tensor) -> Tensor:
        return self.mask * y

    def impose(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.where(self.mask == 1, y, x)

    def frame(self, x: Tensor) -> Tensor:
        return x
