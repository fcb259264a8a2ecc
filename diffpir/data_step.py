"""The sampler's data step: from a denoised image to one that agrees with the measurement."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Protocol

import torch
from torch import Tensor

from diffpir.config import SamplerConfig
from diffpir.operators import Compressed, Mosaic, Operator, Rho, per_image
from diffpir.operators.circulant import circular_gain
from diffpir.operators.circular import filtered
from diffpir.operators.compressed import ROUNDS
from diffpir.operators.protocol import Invertible, Map, Power, of_channels, of_pixels
from diffpir.operators.solver import AT_ONCE, conjugate_gradients, level_of, uneven
from diffpir.spectrum import PriorSpectrum, mixed

# Of masks: more iterations change the PSNR by less than 0.03 dB.
RTOL, MAX_ITERATIONS = 0.05, 5
# Of the start, which begins from nothing: with 5 large holes get a wrong colour (2 dB).
START_ITERATIONS = 20


Weight = Rho | Callable[[Tensor], Tensor]
"""lambda sigma_n^2, like the rho of operators; or what gives that for x0, on [-1, 1]."""


class DataStep(Protocol):
    """``(x0, sigma_bar) -> x0_hat``, both (B, C, H, W) on [-1, 1]."""

    def __call__(self, x0: Tensor, sigma_bar: float) -> Tensor: ...

    def fresh(self, z: Tensor, sigma_bar: float) -> Tensor:
        """Standard normal z as it is to be added, times sigma_bar, to the last x0_hat."""
        ...


class IsotropicStep:
    """DiffPIR's: x0 is equally wrong at all frequencies (Zhu et al. 2023, eq. 12a and 13).

    Args:
        operator: A.
        y: the measurement, on [-1, 1].
        weight: lambda sigma_n^2.
        config: the sampler's settings.
    """

    def __init__(self, operator: Operator, y: Tensor, weight: Weight, config: SamplerConfig):
        self.operator, self.y, self.weight, self.config = operator, y, weight, config

    def __call__(self, x0: Tensor, sigma_bar: float) -> Tensor:
        weight = self.weight(x0) if callable(self.weight) else self.weight
        rho_t = weight * self.config.prior_precision(sigma_bar)
        rho_t = rho_t.to(x0) if isinstance(rho_t, Tensor) else rho_t
        return self.operator.prox(x0, self.y, rho_t)

    def fresh(self, z: Tensor, sigma_bar: float) -> Tensor:
        return z


class SpectralStep:
    """``x + S A^T (A S A^T + lambda sigma_n^2)^-1 (y - A x)``, S the prior's error spectrum.

    The posterior mean of x where its error is Gaussian with that spectrum; with a constant S it is
    :class:`IsotropicStep`. Where the operator has no closed form of it, or the noise differs from
    pixel to pixel, conjugate gradients find it, from where those of the step before ended.

    Args:
        operator: A.
        y: the measurement, on [-1, 1].
        weight: lambda sigma_n^2.
        spectrum: of the prior.
        rtol, max_iterations: of conjugate gradients; None for the operator's own, if it has any.
    """

    def __init__(
        self,
        operator: Operator,
        y: Tensor,
        weight: Weight,
        spectrum: PriorSpectrum,
        *,
        rtol: float | None = None,
        max_iterations: int | None = None,
    ):
        self.compressed = operator if isinstance(operator, Compressed) else None
        self.operator = operator.operator if isinstance(operator, Compressed) else operator
        if isinstance(operator, Mosaic):  # as a mask it tells how wrong it leaves the image
            self.operator, y = operator.inpaint, operator.adjoint(y)
        self.y, self.spectrum = y, spectrum
        self.weight = weight.to(y) if isinstance(weight, Tensor) else weight
        self.rtol: float = rtol if rtol else getattr(self.operator, "rtol", RTOL)
        usual: int = getattr(self.operator, "max_iterations", MAX_ITERATIONS)
        self.max_iterations = max_iterations or usual
        self.last: dict[int, Tensor] = {}  # by the first of its channels
        # Of an operator without an inverse: None before it was asked, (None,) where there is none.
        self.gain: tuple[Tensor | None] | None = None
        # The power spectrum of the error of the last image; None where the operator tells none.
        self.error_left: Power | None = None

    def __call__(self, x0: Tensor, sigma_bar: float) -> Tensor:
        def power(height: int, width: int) -> Tensor:
            return self.spectrum.of_error(sigma_bar, height, width, x0)

        if self.compressed is None:
            return self._towards_data(x0, x0, power, self.max_iterations)
        x = x0
        for _ in range(ROUNDS):
            self.y = self.compressed.expected(x)
            x = self._towards_data(x0, x0, power, self.max_iterations)
        return x

    def start(self, guess: Tensor) -> Tensor:
        """The Wiener estimate of the scene: pictures of the guess's mean colour, given y."""
        colour = guess.mean(dim=(2, 3), keepdim=True).expand_as(guess)
        iterations = max(self.max_iterations, START_ITERATIONS)
        return self._towards_data(
            colour, guess, lambda h, w: self.spectrum.of_pictures(h, w, guess), iterations
        )

    def fresh(self, z: Tensor, sigma_bar: float) -> Tensor:
        if self.error_left is None:
            return z
        basis = self.spectrum.basis(z)
        missing = (1 - self.error_left(*z.shape[-2:]) / sigma_bar**2).clamp(min=0).sqrt().to(z)
        parts = [filtered(mixed(z, basis[c]), missing[..., c, :, :]) for c in _parts(z, basis)]
        return mixed(torch.cat(parts, dim=1), basis.T)

    def _towards_data(self, x: Tensor, lit: Tensor, of_prior: Power, iterations: int) -> Tensor:
        """From x; ``lit`` is the scene whose light tells how strong the noise is."""
        operator, basis = self.operator, self.spectrum.basis(x)

        def power(height: int, width: int) -> Tensor:  # a grey prior's holds for each channel
            return of_prior(height, width).expand(len(basis), -1, -1)

        weight = self.weight(lit) if callable(self.weight) else self.weight
        weight = per_image(weight, x)
        residual = self.y - operator.forward(x)
        invertible = operator if isinstance(operator, Invertible) else None
        uniform, level = True, weight
        if of_pixels(weight) or of_channels(weight):
            uniform, level = False, level_of(weight, (1, 2, 3))
        self.error_left = invertible.error_left(level, power) if invertible else None
        if invertible is None or not (invertible.alike and uniform):

            def spread(x: Tensor) -> Tensor:  # S x
                return mixed(filtered(mixed(x, basis), power(*x.shape[-2:])), basis.T)

            if invertible is not None:
                inverse = _joint_inverse(invertible, weight, cache(power), basis)
            else:
                inverse = self._circular_inverse(residual, x, weight, power, basis)
            return x + self._step(residual, weight, spread, inverse, iterations, (1, 2, 3))
        steps = []
        for part in _parts(x, basis):  # each channel of the basis is a system of its own
            of_part = cache(lambda h, w, part=part: power(h, w)[part])

            def spread_part(x: Tensor, power: Power = of_part) -> Tensor:
                return filtered(x, power(*x.shape[-2:]))

            inverse = invertible.inverse(weight, of_part)
            mine = mixed(residual, basis[part])
            needed = 0 if invertible.exact else iterations
            steps.append(self._step(mine, weight, spread_part, inverse, needed, (2, 3), part.start))
        return x + mixed(torch.cat(steps, dim=1), basis.T)

    def _circular_inverse(
        self, residual: Tensor, x: Tensor, weight: Rho, power: Power, basis: Tensor
    ) -> Map:
        """Near ``(A S A^T + weight)^-1`` of an operator that is like a circular convolution."""
        if residual.shape != x.shape or of_pixels(weight) or of_channels(weight):
            return _same
        if self.gain is None:
            operator = self.operator
            gain = circular_gain(lambda d: operator.forward(operator.adjoint(d)), residual)
            self.gain = (gain,)
        (gain,) = self.gain
        if gain is None:
            return _same
        reciprocal = 1 / (gain * power(*x.shape[-2:]) + weight)
        self.error_left = lambda h, w: power(h, w) * weight / (gain * power(h, w) + weight)
        return lambda r: mixed(filtered(mixed(r, basis), reciprocal), basis.T)

    def _step(
        self,
        residual: Tensor,
        weight: Rho,
        spread: Map,
        inverse: Map,
        iterations: int,
        dims: tuple[int, ...],
        first: int = 0,
    ) -> Tensor:
        """``S A^T (A S A^T + weight)^-1 r``; ``inverse`` is that of the bracket, or near it.

        No iterations are for an exact one.
        """
        operator = self.operator
        if not iterations:
            u = inverse(residual)
        else:
            u = self.last[first] = conjugate_gradients(
                lambda d: operator.forward(spread(operator.adjoint(d))),
                residual,
                weight,
                start=self.last.get(first),
                precondition=inverse,
                dims=dims,
                rtol=self.rtol,
                max_iterations=iterations,
            )
        return spread(operator.adjoint(u))


def _parts(x: Tensor, basis: Tensor) -> list[slice]:
    """The channels of the basis that are worked on at a time.

    Those of a large image one after another, which takes a third of the memory.
    """
    channels = len(basis)
    at_once = channels if x.numel() <= AT_ONCE else 1
    return [slice(first, first + at_once) for first in range(0, channels, at_once)]


def _joint_inverse(operator: Invertible, weight: Rho, power: Power, basis: Tensor) -> Map:
    """Near ``(A S A^T + weight)^-1`` of all channels together."""

    def even(level: Rho) -> Map:
        whole = operator.inverse(level, power)
        return lambda r: mixed(whole(mixed(r, basis)), basis.T)

    if not (of_pixels(weight) or of_channels(weight)):
        return even(weight)
    level = level_of(weight, (1, 2, 3))
    return uneven(even(level), level, weight)


def _same(r: Tensor) -> Tensor:
    return r
