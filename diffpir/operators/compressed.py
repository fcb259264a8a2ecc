"""A linear measurement that was compressed since: a blurred and noisy picture in a JPEG file."""

from __future__ import annotations

from torch import Tensor

from diffpir.operators.interval import Interval
from diffpir.operators.protocol import Operator, Rho

ROUNDS = 3  # more change little, and each costs one data step of the linear operator


class Compressed:
    """A measurement that was stored as a JPEG file: ``low <= T (A x + n) <= high``, with noise n.

    The data step alternates between two steps that are exact. The first gives the expected value of
    ``A x + n`` within its intervals, for a given x. The second is A's own data step, for a given
    ``A x + n``. This is the expectation-maximisation algorithm (Dempster, Laird, Rubin 1977) with
    few rounds, which approximates the most likely x.

    Args:
        operator: A, with ``A 1 = 1``.
        stored: T and the bounds, with the noise level of n.
    """

    def __init__(self, operator: Operator, stored: Interval):
        self.operator, self.stored = operator, stored

    def forward(self, x: Tensor) -> Tensor:
        return self.operator.forward(x)

    def adjoint(self, y: Tensor) -> Tensor:
        return self.operator.adjoint(y)

    def prox(self, x: Tensor, y: Tensor, rho: Rho) -> Tensor:
        """On [-1, 1]; y says nothing that the intervals do not."""
        z = x
        for _ in range(ROUNDS):
            z = self.operator.prox(x, self.expected(z), rho)
        return z

    def expected(self, x: Tensor) -> Tensor:
        """``E[A x + n]`` on [-1, 1], of what the intervals leave possible."""
        return self.stored.expected(self.operator.forward(x))

    def initial(self, y: Tensor) -> Tensor:
        return self.operator.initial(y)

    def impose(self, x: Tensor, y: Tensor) -> Tensor:
        """x itself: no value of y is known exactly."""
        return x

    def frame(self, x: Tensor) -> Tensor:
        return self.operator.frame(x)

    def kept(self, x: Tensor) -> Tensor:
        """The share of the coefficients of ``A x`` that lie within, as :meth:`Interval.kept`."""
        return self.stored.kept(self.operator.forward(x))
