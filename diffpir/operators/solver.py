"""Data steps without a closed form: preconditioned conjugate gradients."""

from __future__ import annotations

from collections import deque

import torch
from torch import Tensor

from diffpir.operators.protocol import Map, Rho, per_image

AT_ONCE = 2**23  # values of a scene whose channels are solved for together


def prox_by_cg(
    forward: Map,
    adjoint: Map,
    x: Tensor,
    y: Tensor,
    rho: Rho,
    *,
    gram: Map | None = None,
    precondition: Map = lambda r: r,
    dims: tuple[int, ...] = (1, 2, 3),
    rtol: float,
    max_iterations: int,
) -> Tensor:
    """``x + A^T u`` with ``(A A^T + rho) u = y - A x``, u by conjugate gradients from zero.

    Few iterations are not a failure: what they have not reached yet is what y says least about.
    But where rho is small against A A^T, they magnify rounding, and so what a batch differs by from
    its images alone: in single precision some thousand times.

    Args:
        forward, adjoint: A and its transpose.
        x: (B, C, H, W).
        y: of the shape of A x.
        gram: ``A A^T``, where that is less work than ``forward`` of ``adjoint``.
        rho, precondition, dims, rtol, max_iterations: as for :func:`conjugate_gradients`.
    """
    u = conjugate_gradients(
        gram or (lambda d: forward(adjoint(d))),
        y - forward(x),
        rho,
        precondition=precondition,
        dims=dims,
        rtol=rtol,
        max_iterations=max_iterations,
    )
    return x + adjoint(u)


def conjugate_gradients(
    gram: Map,
    r: Tensor,
    rho: Rho,
    *,
    start: Tensor | None = None,
    precondition: Map = lambda r: r,
    dims: tuple[int, ...] = (1, 2, 3),
    rtol: float,
    max_iterations: int,
) -> Tensor:
    """``(G + rho)^-1 r`` (Hestenes and Stiefel 1952, preconditioned).

    Each image (or each of its channels) is a system of its own, and stops on its own.

    Args:
        gram: G, symmetric and not negative.
        r: (B, c, h, w).
        rho: above 0, a float, one per image, or of four axes that broadcast against r.
        start: where to begin; None for zero.
        precondition: symmetric, near ``(G + rho)^-1``.
        dims: of r that a system spans: (2, 3) where G treats channels apart.
        rtol: of what is left of r, where a system stops.
        max_iterations: where all do.
    """

    def dot(a: Tensor, b: Tensor) -> Tensor:
        return (a * b).sum(dim=dims, keepdim=True)

    rho = per_image(rho, r) if isinstance(rho, Tensor) else r.new_full((), rho)
    goal = rtol**2 * dot(r, r)
    if start is None:
        u = torch.zeros_like(r)
    else:
        u = start
        r = r - torch.addcmul(gram(u), rho, u)
    z = precondition(r)
    d, rz = z, dot(r, z)
    ended = Ended()
    for _ in range(max_iterations):
        active = dot(r, r) > goal
        if ended(active):
            break
        q = torch.addcmul(gram(d), rho, d)
        step = torch.where(active, rz / dot(d, q), 0)
        u = torch.addcmul(u, step, d)
        r = torch.addcmul(r, step, q, value=-1)
        z = precondition(r)
        rz, before = dot(r, z), rz
        d = torch.addcmul(z, torch.where(active, rz / before, 0), d)
    return u


def level_of(rho: Tensor, dims: tuple[int, ...]) -> Tensor:
    """The one value of a system that :func:`uneven` is best called with: the harmonic mean."""
    return 1 / (1 / rho).mean(dim=dims, keepdim=True)


def uneven(inverse: Map, level: Tensor, rho: Tensor) -> Map:
    """A preconditioner near ``(G + rho)^-1`` for a rho that differs from pixel to pixel.

    ``R + level R (level / rho - 1) R`` where R is ``(G + level)^-1``. It is right where rho is
    the level, where G is far above rho, and where G is 0; and positive. Three iterations with it go
    further than twelve with R alone.

    Args:
        inverse: R, or near it and not above 1 / level.
        level: what rho is replaced by in R (:func:`level_of`).
        rho: (B, 1 or c, h, w).
    """

    def precondition(r: Tensor) -> Tensor:
        v = inverse(r)
        return v + level * inverse((level / rho - 1) * v)

    return precondition


class Ended:
    """Whether no system is active any more; of a GPU asked without letting it wait.

    The answer may be of up to ``late`` iterations ago: a GPU has those left to do while the program
    waits. What they cost is their time, for they change nothing.
    """

    late = 2

    def __init__(self) -> None:
        self.asked: deque[tuple[Tensor, torch.cuda.Event]] = deque()

    def __call__(self, active: Tensor) -> bool:
        if not active.is_cuda:
            return not active.any()
        answer = torch.empty((), dtype=torch.bool, pin_memory=True)
        answer.copy_(active.any(), non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record(torch.cuda.current_stream(active.device))
        self.asked.append((answer, arrived))
        while len(self.asked) > self.late or (self.asked and self.asked[0][1].query()):
            answer, arrived = self.asked.popleft()
            arrived.synchronize()
            if not answer:
                return True
        return False
