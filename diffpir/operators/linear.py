"""Anybody's linear operator."""

from __future__ import annotations

import torch
from torch import Tensor

from diffpir.operators.protocol import Map, Rho
from diffpir.operators.solver import prox_by_cg


class Linear:
    """A linear operator of your own, given by the two functions ``A`` and ``A^T``.

    Both map (B, C, H, W) to (B, c, h, w) and back, treat the images of a batch separately, and
    satisfy ``<A x, y> = <x, A^T y>`` for each image; :func:`diffpir.operators.linear.check_adjoint`
    tests this. The data step is solved by conjugate gradients.

    Args:
        forward, adjoint: A and A^T.
        initial: a function from y to the image that sampling starts from. None takes ``A^T y``,
            scaled so that A brings it as near to y as possible.
        rtol: the relative residual at which the conjugate gradients end.
        max_iterations: of the conjugate gradients at most
            (:func:`diffpir.operators.solver.prox_by_cg`).

    Examples:
        >>> import torch
        >>> from diffpir import Linear
        >>> left_half = Linear(lambda x: x[..., :4], lambda y: torch.nn.functional.pad(y, (0, 4)))
        >>> left_half.forward(torch.ones(1, 3, 8, 8)).shape
        torch.Size([1, 3, 8, 4])
    """

    def __init__(
        self,
        forward: Map,
        adjoint: Map,
        initial: Map | None = None,
        *,
        rtol: float = 1e-4,
        max_iterations: int = 50,
    ):
        self.forward, self.adjoint = forward, adjoint
        self._initial = initial
        self.rtol, self.max_iterations = rtol, max_iterations

    def prox(self, x: Tensor, y: Tensor, rho: Rho) -> Tensor:
        return prox_by_cg(
            self.forward,
            self.adjoint,
            x,
            y,
            rho,
            rtol=self.rtol,
            max_iterations=self.max_iterations,
        )

    def initial(self, y: Tensor) -> Tensor:
        if self._initial:
            return self._initial(y)
        back = self.adjoint(y)
        again = self.forward(back)
        dims = (1, 2, 3)
        power = (again * again).sum(dim=dims, keepdim=True)
        scale = (again * y).sum(dim=dims, keepdim=True) / power.clamp(min=1e-12)
        return scale * back

    def impose(self, x: Tensor, y: Tensor) -> Tensor:
        return x  # what it determines is not known

    def frame(self, x: Tensor) -> Tensor:
        return x


def check_adjoint(forward: Map, adjoint: Map, y: Tensor) -> None:
    """Raise ValueError unless ``A^T`` is the transpose of ``A``, as seen on random images.

    Args:
        forward, adjoint: A and A^T.
        y: (B, c, h, w) of the shape, type and device of a measurement; its values do not matter.
    """
    generator = torch.Generator().manual_seed(0)

    def draw(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator, dtype=torch.float64).to(like)

    b = draw(y)
    back = adjoint(b)
    a = draw(back)
    there = forward(a)
    if there.shape != y.shape:
        raise ValueError(
            f"forward gives the shape {tuple(there.shape)} for the adjoint's "
            f"{tuple(back.shape)}, the measurement has {tuple(y.shape)}"
        )
    left, right = (there * b).sum(), (a * back).sum()
    scale = there.norm() * b.norm() + a.norm() * back.norm()
    if not (left - right).abs() <= 1e-4 * scale:
        raise ValueError(
            f"adjoint is not the transpose of forward: <A x, y> = {left:.6g}, "
            f"<x, A^T y> = {right:.6g}"
        )
