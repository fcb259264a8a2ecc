"""Measurements that say between which values something lies: quantised, clipped or rounded ones."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from diffpir.operators.protocol import Rho

NOISE_FLOOR = 1e-3
"""``rho`` is the square of the noise level, or of this if there is less, over the variance that is
taken for that of the error in x on [-1, 1]. In the sampler rho is ``lambda sigma_n^2 /
sigma_bar^2`` with the same least sigma_n: so the variance is sigma_bar^2 / lambda."""

_ROOT2 = math.sqrt(2)
_NARROW = 0.1  # an interval, in standard deviations, whose density is as good as straight


def truncated_mean(mean: Tensor, std: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The mean of a normal distribution that is cut to an interval.

    ``mean + std (phi(a) - phi(b)) / (Phi(b) - Phi(a))`` with ``a = (low - mean) / std`` and
    ``b = (high - mean) / std``; as ``std -> 0`` it is the point of the interval that is nearest to
    ``mean``. Scaled complementary error functions keep it right in float32 wherever the interval
    lies in the tails.

    Args:
        mean, std: of the distribution before the cut; ``std > 0``.
        low, high: ends of the interval; -inf and inf where it has none. All shapes broadcast.
    """
    a, b = (low - mean) / std, (high - mean) / std
    mirrored = a + b < 0  # so that the nearer end, or the middle, is never on the left
    a, b = torch.where(mirrored, -b, a), torch.where(mirrored, -a, b)
    # For a >= 0: phi(a) and Phi's difference have the factor exp(-a^2 / 2) in common.
    near = a.clamp(min=0)
    far = torch.where(torch.isinf(b), near, b)
    decay = torch.where(torch.isinf(b), 0.0, torch.exp((a - far) * (a + far) / 2))
    erfcx = torch.special.erfcx
    mass = erfcx(near / _ROOT2) - decay * erfcx(far.clamp(min=0) / _ROOT2)
    tail = math.sqrt(2 / math.pi) * (1 - decay) / mass.clamp(min=torch.finfo(mass.dtype).tiny)
    inner = (_density(a) - _density(b)) / (_below(b) - _below(a)).clamp(min=1e-30)
    # In a narrow interval both differences vanish; its density is straight: slope -middle.
    width, middle = b - a, (a + b) / 2
    narrow = middle - middle * width.square() / 12
    standard = torch.where(a > 0, tail, inner)
    standard = torch.where(width * middle.abs().clamp(min=1) < _NARROW, narrow, standard)
    standard = torch.minimum(torch.maximum(standard, a), b)
    found = mean + std * torch.where(mirrored, -standard, standard)
    return torch.minimum(torch.maximum(found, low), high)


def _density(z: Tensor) -> Tensor:
    return torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)


def _below(z: Tensor) -> Tensor:
    return (1 + torch.erf(z / _ROOT2)) / 2


class Transform(Protocol):
    """A linear T of whose rows no two have anything in common: ``T T^T`` is diagonal.

    What it gives are several tensors, each of whose values have the same variance where x is white.
    """

    def forward(self, x: Tensor) -> list[Tensor]:
        """``T x``, of x (B, C, H, W) on [-1, 1]."""
        ...

    def moved(self, x: Tensor, steps: Sequence[Tensor]) -> Tensor:
        """``x + T^T (T T^T)^-1 d``: the x nearest to it whose coefficients differ by d."""
        ...

    @property
    def variances(self) -> Sequence[float]:
        """The diagonal of ``T T^T``, of each of the tensors."""
        ...


class Pixels:
    """``T = I``: the bounds are those of the pixels themselves."""

    variances = (1.0,)

    def forward(self, x: Tensor) -> list[Tensor]:
        return [x]

    def moved(self, x: Tensor, steps: Sequence[Tensor]) -> Tensor:
        return x + steps[0]


class Interval:
    """Bounds: all that is known of the scene is ``low <= T x + n <= high``.

    Its :meth:`prox` does not minimise, but gives the posterior mean of x. The error of x is taken
    to be white and Gaussian, with the variance that :data:`NOISE_FLOOR` describes. ``T x + n`` is
    then a normal variable that is cut to its interval; as its mean moves, x moves by its share.

    Args:
        transform: T.
        low, high: like the coefficients; -inf and inf where there is no bound. Where they are
            equal, the coefficient was measured.
        noise_level: standard deviation of n for x on [0, 1], a float or one per image, in the
            coefficients of an orthonormal T.
    """

    def __init__(
        self,
        transform: Transform,
        low: Sequence[Tensor],
        high: Sequence[Tensor],
        noise_level: Rho = 0.0,
    ):
        self.transform, self.low, self.high = transform, low, high
        self.noise_level = noise_level

    def forward(self, x: Tensor) -> Tensor:
        """x itself: what is measured is shown as a picture."""
        return x

    def adjoint(self, y: Tensor) -> Tensor:
        return y

    def prox(self, x: Tensor, y: Tensor, rho: Rho) -> Tensor:
        """The posterior mean, of x on [-1, 1]; y says nothing that the intervals do not."""
        noise = torch.as_tensor(self.noise_level).to(x)
        error = noise.clamp(min=NOISE_FLOOR) ** 2 / torch.as_tensor(rho).to(x)  # of x
        share = error / (error + (2 * noise) ** 2)
        return self._cut(x, (error / share) ** 0.5, share)

    def expected(self, x: Tensor) -> Tensor:
        """``E[x + n]`` on [-1, 1], of what n and the intervals leave possible; T is orthogonal."""
        std = 2 * torch.as_tensor(self.noise_level).to(x).clamp(min=NOISE_FLOOR)
        return self._cut(x, std, torch.ones_like(std))

    def _cut(self, x: Tensor, std: Tensor, share: Tensor) -> Tensor:
        """x moved by a share of how far cutting moves the mean of what has that deviation."""
        steps = []
        for found, low, high, variance in self._coefficients(x):
            mean = truncated_mean(found, _along(std * variance**0.5, found), low, high)
            steps.append(_along(share, found) * (mean - found))
        return self.transform.moved(x, steps)

    def _coefficients(self, x: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor, float]]:
        """Those of x on [-1, 1], their bounds, and the variance that white noise has in them."""
        transform = self.transform
        return zip(transform.forward(x), self.low, self.high, transform.variances, strict=True)

    def initial(self, y: Tensor) -> Tensor:
        return y

    def impose(self, x: Tensor, y: Tensor) -> Tensor:
        """x on [0, 1] with every coefficient moved into its interval, if it is not there."""
        return (self.nearest(2 * x - 1) + 1) / 2

    def nearest(self, x: Tensor) -> Tensor:
        """The nearest x on [-1, 1] that the measurement allows."""
        found = self._coefficients(x)
        steps = [torch.minimum(torch.maximum(c, low), high) - c for c, low, high, _ in found]
        return self.transform.moved(x, steps)

    def frame(self, x: Tensor) -> Tensor:
        return x

    def kept(self, x: Tensor, slack: float = 1e-3) -> Tensor:
        """The share of the coefficients of x, on [0, 1], that lie in their intervals, (B,).

        With noise: that lie within three standard deviations of them.

        Args:
            slack: of the intervals' widths, for rounding.
        """
        inside = total = torch.zeros(len(x), device=x.device)
        noise = torch.as_tensor(self.noise_level).to(x)
        for found, low, high, variance in self._coefficients(2 * x - 1):
            room = slack * torch.where((high - low).isfinite(), high - low, 1.0)
            room = room + _along(3 * 2 * noise * variance**0.5, found)
            good = (found >= low - room) & (found <= high + room)
            inside = inside + good.flatten(1).sum(dim=1)
            total = total + good[0].numel()
        return inside / total


def _along(values: Tensor, like: Tensor) -> Tensor:
    """One value, or one per image, as it broadcasts against coefficients."""
    return values.reshape(-1, *(1,) * (like.ndim - 1)) if values.ndim else values
