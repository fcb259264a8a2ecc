"""Operators of the library deepinv, its ``physics``, as ours."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from diffpir.operators.linear import Linear
from diffpir.operators.protocol import Rho

# In float32 deepinv's closed forms, which divide by rho, say nothing of what is not measured below
# this; conjugate gradients of the residual do.
CLOSED_FROM = 1e-5
KEPT = 8  # sizes of images, whose physics are kept


class Physics(Linear):
    """A linear operator that is given as deepinv has it: ``A``, ``A_adjoint`` and ``prox_l2``.

    Args:
        make: size (C, H, W) of scenes -> ``deepinv.physics.LinearPhysics`` for them.
        scene_of: (c, h, w) of a measurement -> size of the scene.
        closed: its ``prox_l2`` is a closed form, and no iteration.
    """

    def __init__(
        self,
        make: Callable[[tuple[int, ...]], Any],
        scene_of: Callable[[tuple[int, ...]], tuple[int, ...]],
        closed: bool,
    ):
        super().__init__(self._there, self._back)
        self._make, self._scene_of, self._closed = make, scene_of, closed
        self._known: OrderedDict[tuple[tuple[int, ...], torch.device], tuple[Any, bool]] = (
            OrderedDict()
        )

    def prox(self, x: Tensor, y: Tensor, rho: Rho) -> Tensor:
        """As of every operator; by ``prox_l2`` of the residual where that is a closed form."""
        if not self._closed or (isinstance(rho, Tensor) and rho.numel() not in (1, len(x))):
            return super().prox(x, y, rho)
        values = rho.flatten().tolist() if isinstance(rho, Tensor) else [rho]
        if min(values) < CLOSED_FROM:
            return super().prox(x, y, rho)
        physics, solves = self._known_for(tuple(x.shape[1:]), x.device)
        if not solves:
            return super().prox(x, y, rho)
        residual, zero = y - self._there(x), torch.zeros_like(x)
        if len(set(values)) == 1:
            step: Tensor = physics.prox_l2(zero, residual, 1 / values[0])
        else:  # not all of them take a value for each image
            images = zip(zero.split(1), residual.split(1), values, strict=True)
            step = torch.cat([physics.prox_l2(z, r, 1 / value) for z, r, value in images])
        return x + step

    def _there(self, x: Tensor) -> Tensor:
        y: Tensor = self._of(tuple(x.shape[1:]), x.device).A(x)
        return y

    def _back(self, y: Tensor) -> Tensor:
        x: Tensor = self._of(self._scene_of(tuple(y.shape[1:])), y.device).A_adjoint(y)
        return x

    def _of(self, size: tuple[int, ...], device: torch.device) -> Any:
        return self._known_for(size, device)[0]

    def _known_for(self, size: tuple[int, ...], device: torch.device) -> tuple[Any, bool]:
        """The physics for scenes of a size, and whether its ``prox_l2`` is what it should be."""
        key = size, device
        if key not in self._known:
            # What a physics draws must be the same in all processes, and disturb nobody.
            with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.no_grad():
                torch.default_generator.manual_seed(0)
                physics = self._make(size).to(device)
                self._known[key] = physics, self._closed and _solves(physics, size, device)
        self._known.move_to_end(key)
        if len(self._known) > KEPT:
            self._known.popitem(last=False)
        return self._known[key]


def _solves(physics: Any, size: tuple[int, ...], device: torch.device) -> bool:
    """Whether ``prox_l2`` solves its equations: of a filter larger than the image, some do not."""
    gamma = 10.0
    y = physics.A(torch.rand(1, *size).to(device))
    x = physics.prox_l2(torch.zeros(1, *size, device=device), y, gamma)
    right = gamma * physics.A_adjoint(y)
    left = gamma * physics.A_adjoint(physics.A(x)) + x
    return bool((left - right).abs().max() <= 1e-4 * right.abs().max())
