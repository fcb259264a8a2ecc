"""Functions of an operator's singular values, without its singular vectors."""

from __future__ import annotations

import torch
from torch import Tensor

from diffpir.operators import Decomposable, Operator
from diffpir.operators.protocol import Map

# Singular values up to this are taken for 0: what an inverse would magnify there is rounding. The
# least that DDRM's and DDNM's code keeps of a separable blur is 0.03 squared.
TOLERANCE = 1e-3


class Range:
    """The scenes that an operator sees anything of: the span of its right singular vectors.

    Raises:
        ValueError: the operator has no ``spectral``.
    """

    def __init__(self, operator: Operator, method: str, tolerance: float = TOLERANCE):
        if not isinstance(operator, Decomposable):
            raise ValueError(
                f"the method {method} needs the operator's singular values, and "
                f"{type(operator).__name__} has no method spectral"
            )
        self.operator, self.spectral, self.tolerance = operator, operator.spectral, tolerance

    def lifted(self, r: Tensor, f: Map) -> Tensor:
        """``A^T f(s) r``, for r of the shape of y and f of the singular values s, where s > 0."""
        least = self.tolerance

        def of_eigenvalues(s2: Tensor) -> Tensor:
            return torch.where(s2 > least**2, f(s2.clamp(min=least**2).sqrt()), 0)

        return self.operator.adjoint(self.spectral(r, of_eigenvalues))

    def scaled(self, x: Tensor, f: Map) -> Tensor:
        """``V f(s) V^T x``: each singular component of a scene times f of its singular value."""
        return self.lifted(self.operator.forward(x), lambda s: f(s) / s**2)

    def pinv(self, y: Tensor) -> Tensor:
        """The least scene that y is nearest to."""
        return self.lifted(y, lambda s: s**-2)

    def unseen(self, x: Tensor) -> Tensor:
        """The part of a scene that the operator sees nothing of."""
        return x - self.pinv(self.operator.forward(x))
