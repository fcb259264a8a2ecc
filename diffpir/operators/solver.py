"""Data steps without a closed form: preconditioned conjugate gradients."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor

from diffpir.operators.protocol import Rho, per_image

Map = Callable[[Tensor], Tensor]


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

    Hestenes and Stiefel 1952, preconditioned; each image (or each of its channels) is a system of
    its own, and stops on its own. Few iterations are not a failure: what they have not reached yet
    is what y says least about. But where rho is small against A A^T, they magnify rounding, and so
    what a batch differs by from its images alone: in single precision some thousand times.

    Args:
        forward, adjoint: A and its transpose.
        x: (B, C, H, W).
        y: of the shape of A x.
        gram: ``A A^T``, where that is less work than ``forward`` of ``adjoint``.
        rho: above 0, a float or one per image.
        precondition: symmetric, near ``(A A^T + rho)^-1``.
        dims: of y that a system spans: (2, 3) where A treats channels alike and apart.
        rtol: of ``||r|| / ||y - A x||``, where a system stops.
        max_iterations: where all do.
    """

    def dot(a: Tensor, b: Tensor) -> Tensor:
        return (a * b).sum(dim=dims, keepdim=True)

    r = y - forward(x)
    rho = per_image(rho, x) if isinstance(rho, Tensor) else r.new_full((), rho)
    u = torch.zeros_like(r)
    goal = rtol**2 * dot(r, r)
    z = precondition(r)
    d, rz = z, dot(r, z)
    ended = Ended()
    for _ in range(max_iterations):
        active = dot(r, r) > goal
        if ended(active):
            break
        q = torch.addcmul(gram(d) if gram else forward(adjoint(d)), rho, d)
        step = torch.where(active, rz / dot(d, q), 0)
        u = torch.addcmul(u, step, d)
        r = torch.addcmul(r, step, q, value=-1)
        z = precondition(r)
        rz, before = dot(r, z), rz
        d = torch.addcmul(z, torch.where(active, rz / before, 0), d)
    return x + adjoint(u)


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
