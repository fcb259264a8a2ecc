"""Blur as cameras make it: what lies beyond the frame, or under a mask, was not measured."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from diffpir.operators.circular import Downsample, enlarge
from diffpir.operators.protocol import (
    Map,
    Power,
    Rho,
    batched_mask,
    of_channels,
    of_pixels,
    per_image,
)
from diffpir.operators.solver import AT_ONCE, level_of, prox_by_cg, uneven

Boundary = Literal["circular", "reflect", "unknown"]
FIRM = 1e-3  # from this rho on, iterations in single precision magnify no rounding


class PartialBlur:
    """Blur as cameras make it: what lies beyond the frame, or under a mask, was not measured.

    ``A = M C B E``: extend the scene (E), blur and reduce it (B), cut out the frame (C), and hide
    pixels (M). ``B`` is :class:`diffpir.Downsample`, which wraps around the border of what it is
    given, and ``C`` keeps only what this does not reach. ``E`` depends on the boundary:

    - ``unknown``: x is larger than the frame, by the reach of the kernel, and its margin is
      restored together with it. :meth:`frame` cuts the margin off. This is true of photographs
      (Reeves 2005, Almeida and Figueiredo 2013).
    - ``reflect``: x is mirrored at its border, whose pixels are repeated (d c b a | a b c d).
    - ``circular``: x is not extended. With a mask this has no closed form.

    The data step is solved by conjugate gradients on ``A A^T + rho``, with the circular inverse of
    ``B`` as the preconditioner. They run in double precision where rho is below 1e-3, or where a
    GPU would have to be waited for to know rho.

    Args:
        kernel: (kh, kw) or (B, kh, kw), a point-spread function as for :class:`diffpir.Downsample`.
        size: (h, w) of y.
        factor: of the reduction; 1 is blur alone.
        boundary: ``unknown``, ``reflect`` or ``circular``.
        mask: (h, w), (1, h, w) or (B, 1 or C, h, w); 1 where y is known, 0 where it is hidden; None
            where all of it is known.
        rtol: the relative residual at which the conjugate gradients end.
        max_iterations: of the conjugate gradients at most.
        least_rho: the smallest rho of the data step. The paper's rho begins near 1e-7. Iterations
            that end early there magnify any rounding of x a thousand times; with 1e-5 they magnify
            it less than ten times. The closed form of :class:`diffpir.Downsample` never does.

    Examples:
        >>> import torch
        >>> from diffpir import PartialBlur, gaussian_kernel
        >>> blur = PartialBlur(torch.tensor(gaussian_kernel(9, 1.5)).float(), size=(32, 32))
        >>> scene = blur.initial(torch.rand(1, 3, 32, 32))
        >>> scene.shape, blur.frame(scene).shape
        (torch.Size([1, 3, 40, 40]), torch.Size([1, 3, 32, 32]))
    """

    exact = False

    def __init__(
        self,
        kernel: Tensor,
        size: tuple[int, int],
        factor: int = 1,
        boundary: Boundary = "unknown",
        mask: Tensor | None = None,
        *,
        rtol: float = 1e-3,
        max_iterations: int = 20,
        least_rho: float = 1e-5,
    ):
        self.blur = Downsample(kernel, factor)
        double = kernel.dtype == torch.float64
        self._precise = self.blur if double else Downsample(kernel.double(), factor)
        self.size, self.boundary = size, boundary
        self.mask = None if mask is None else batched_mask(mask)
        self.alike = self.mask is None or self.mask.shape[1] == 1
        self.rtol, self.max_iterations, self.least_rho = rtol, max_iterations, least_rho
        self.margins = [(0, 0), (0, 0)]
        if boundary != "circular":
            self.margins = [
                margins(k, factor, side)
                for k, side in zip(self.blur.kernel.shape[-2:], size, strict=True)
            ]
        self._folded = [
            _fold(factor * side, before, after, kernel.device)
            for side, (before, after) in zip(size, self.margins, strict=True)
        ]

    def forward(self, x: Tensor) -> Tensor:
        return self._forward(self.blur, x)

    def adjoint(self, y: Tensor) -> Tensor:
        return self._adjoint(self.blur, y)

    def _forward(self, blur: Downsample, x: Tensor) -> Tensor:
        y = self._cut(blur.forward(self._extend(x)), blur.factor)
        return y if self.mask is None else self.mask * y

    def _adjoint(self, blur: Downsample, y: Tensor) -> Tensor:
        y = y if self.mask is None else self.mask * y
        x = blur.adjoint(F.pad(y, self._padding(blur.factor)))
        if self.boundary != "reflect":
            return x
        for dim, index in ((-2, self._folded[0]), (-1, self._folded[1])):
            shape = list(x.shape)
            shape[dim] = blur.factor * self.size[dim]
            x = x.new_zeros(shape).index_add(dim, index, x)
        return x

    def prox(self, x: Tensor, y: Tensor, rho: Rho) -> Tensor:
        y = y if self.mask is None else self.mask * y
        if isinstance(rho, Tensor):
            firm = not rho.is_cuda and bool(rho.min() >= FIRM)
            rho = rho.double().clamp(min=self.least_rho)
        else:
            firm, rho = rho >= FIRM, max(rho, self.least_rho)
        blur = self.blur if firm else self._precise

        def gram(r: Tensor) -> Tensor:
            if self.mask is None:
                return self._within(blur.gram, r)
            return self.mask * self._within(blur.gram, self.mask * r)

        def solve(x: Tensor, y: Tensor, rho: Rho) -> Tensor:
            def circular(level: Rho) -> Map:
                return lambda r: self._within(lambda whole: blur.solve(whole, level), r)

            precondition = circular(rho)
            if of_pixels(rho):
                level = level_of(rho, (2, 3))
                precondition = uneven(circular(level), level, rho)
            return prox_by_cg(
                partial(self._forward, blur),
                partial(self._adjoint, blur),
                x if firm else x.double(),
                y if firm else y.double(),
                rho,
                # Mirrored, A A^T is no convolution.
                gram=None if self.boundary == "reflect" else gram,
                precondition=precondition,
                dims=(2, 3),
                rtol=self.rtol,
                max_iterations=self.max_iterations,
            ).to(x.dtype)

        if x.numel() <= AT_ONCE or x.shape[1] == 1:
            return solve(x, y, rho)
        # The channels are systems of their own: one by one they take a third of the memory.
        weights = rho.split(1, dim=1) if of_channels(rho) else [rho] * x.shape[1]
        channels = enumerate(zip(x.split(1, dim=1), y.split(1, dim=1), weights, strict=True))
        return torch.cat([self._of_channel(c).prox(*parts) for c, parts in channels], dim=1)

    def _of_channel(self, channel: int) -> PartialBlur:
        """This operator for one channel of a scene."""
        if self.alike or self.mask is None:
            return self
        single = copy.copy(self)
        single.mask = self.mask[:, channel : channel + 1]
        return single

    def inverse(self, rho: Rho, power: Power) -> Map:
        whole = self.blur.inverse(rho, power)
        return lambda r: self._within(whole, r)

    def error_left(self, rho: Rho, power: Power) -> Power:
        if self.mask is not None:
            rho = per_image(rho, self.mask) / self.mask.mean(dim=(1, 2, 3), keepdim=True)
        return self.blur.error_left(rho, power)

    def _within(self, whole: Callable[[Tensor], Tensor], r: Tensor) -> Tensor:
        s = self.blur.factor
        return self._cut(whole(F.pad(r, self._padding(s))), s)

    def initial(self, y: Tensor) -> Tensor:
        if self.boundary != "unknown":
            return enlarge(y, self.blur.kernel, self.blur.factor)
        padded = F.pad(y, self._padding(self.blur.factor), mode="replicate")
        return enlarge(padded, self.blur.kernel, self.blur.factor)

    def impose(self, x: Tensor, y: Tensor) -> Tensor:
        return x  # no single pixel is determined

    def frame(self, x: Tensor) -> Tensor:
        return self._cut(x, 1) if self.boundary == "unknown" else x

    def _extend(self, x: Tensor) -> Tensor:
        if self.boundary != "reflect":
            return x
        rows, columns = self._folded
        return x.index_select(-2, rows).index_select(-1, columns)

    def _cut(self, extended: Tensor, s: int) -> Tensor:
        """The frame of an extended image, on the scene's grid (s = 1) or on y's (s = factor)."""
        (top, _), (left, _) = self.margins
        grow = self.blur.factor // s
        height, width = self.size
        return extended[
            ..., top // s : top // s + grow * height, left // s : left // s + grow * width
        ]

    def _padding(self, s: int) -> tuple[int, int, int, int]:
        (top, bottom), (left, right) = self.margins
        return left // s, right // s, top // s, bottom // s


def reach(kernel: int, factor: int) -> tuple[int, int]:
    """How far a blur looks beyond the frame, before and after it, along one axis, in pixels.

    A measured pixel i looks at ``i s - (k - 1 - o) ... i s + o`` of the scene, where k is the
    kernel's size and o its origin. Both are multiples of the factor s, so that the grid of y stays
    where it is.
    """
    origin = kernel // 2
    return _up(kernel - 1 - origin, factor), _up(max(0, origin - factor + 1), factor)


def margins(kernel: int, factor: int, size: int) -> tuple[int, int]:
    """How far the scene extends beyond a frame of ``size`` measured pixels: its reach at least.

    The margin after the frame is rounded up to a length that FFTs are fast at; one with a large
    prime factor takes several times as long.
    """
    from scipy.fft import next_fast_len  # takes half a second, and few tasks need it

    before, after = reach(kernel, factor)
    length = next_fast_len(size + (before + after) // factor, real=True)
    return before, (length - size) * factor - before


def trimmed(kernel: np.ndarray) -> np.ndarray:
    """(kh, kw) without the border of zeros around it; the origin stays at ``size // 2``.

    A scene then reaches no further beyond the frame than the blur does.
    """
    for axis in (0, 1):
        size = kernel.shape[axis]
        used = np.flatnonzero(kernel.any(axis=1 - axis))
        spare = min(used[0], size - 1 - used[-1])
        kernel = kernel.take(range(spare, size - spare), axis=axis)
    return kernel


def _up(value: int, multiple: int) -> int:
    return value + -value % multiple


def _fold(size: int, before: int, after: int, device: torch.device) -> Tensor:
    """Which pixel of a mirrored row of ``size`` lies at -before ... size + after - 1."""
    index = torch.arange(-before, size + after, device=device) % (2 * size)
    return torch.minimum(index, 2 * size - 1 - index)
