"""What a JPEG file says of a picture: its quantised DCT coefficients (ITU-T T.81, JFIF)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from diffpir.operators.interval import Interval
from diffpir.operators.protocol import Rho

BLOCK = 8
ROUNDING = 0.5  # levels that a coefficient may be beyond: encoders round colours before, too
LEVELS = 127.5  # of 8 bits, that 1 on [-1, 1] is
NATURAL_POWER = 15_000.0  # of photographs' luma at the lowest frequency of a block, in levels^2
# BT.601 as JFIF has it: Y, Cb, Cr of red, green, blue.
LUMA = (0.299, 0.587, 0.114)
TO_YCC = (
    LUMA,
    (-0.5 * LUMA[0] / (1 - LUMA[2]), -0.5 * LUMA[1] / (1 - LUMA[2]), 0.5),
    (0.5, -0.5 * LUMA[1] / (1 - LUMA[0]), -0.5 * LUMA[2] / (1 - LUMA[0])),
)


class BlockDCT:
    """Pictures on [-1, 1] to the DCT coefficients of their planes Y, Cb and Cr, in 8-bit levels.

    Planes of chroma are means over the pixels that share a sample. Pictures are continued at the
    right and at the bottom, by their last pixels, to whole blocks.

    Args:
        size: (H, W) of the pictures in files.
        sampling: of each plane, (vertical, horizontal) pixels for each of its samples; of grey
            pictures there is one, the mean of the channels.
        orientation: EXIF's, 1 to 8: what turns files' pictures into those of this transform.
        channels: of the pictures, 3, or 1 where they are grey.
    """

    def __init__(
        self,
        size: tuple[int, int],
        sampling: Sequence[tuple[int, int]],
        orientation: int = 1,
        channels: int = 3,
    ):
        self.size, self.sampling = size, tuple(sampling)
        self.orientation, self.channels = orientation, channels
        units = [BLOCK * math.lcm(*factors) for factors in zip(*self.sampling, strict=True)]
        height, width = (-(-side // unit) * unit for side, unit in zip(size, units, strict=True))
        self.padding = (0, width - size[1], 0, height - size[0])

    @property
    def variances(self) -> list[float]:
        """Of each plane's coefficients where the picture on [-1, 1] is white with variance 1."""
        grey = ((1 / self.channels,) * self.channels,)
        rows = TO_YCC if len(self.sampling) == 3 else grey
        return [
            LEVELS**2 * sum(weight**2 for weight in row) / (v * h)
            for row, (v, h) in zip(rows, self.sampling, strict=True)
        ]

    def forward(self, x: Tensor) -> list[Tensor]:
        """Of each plane (B, rows of blocks, columns, 8, 8)."""
        x = F.pad(as_stored(x, self.orientation), self.padding, "replicate")
        planes = self._planes(x * LEVELS)
        return [
            _blocks_dct(F.avg_pool2d(plane, (v, h))[:, 0] if v * h > 1 else plane[:, 0])
            for plane, (v, h) in zip(planes, self.sampling, strict=True)
        ]

    def moved(self, x: Tensor, steps: Sequence[Tensor]) -> Tensor:
        planes = [
            _spread(_blocks_idct(step), v, h)
            for step, (v, h) in zip(steps, self.sampling, strict=True)
        ]
        height, width = self.size
        change = torch.stack(planes, dim=1)[..., :height, :width] / LEVELS
        change = upright(change, self.orientation)
        if len(planes) == 1:
            return x + change
        return x + torch.einsum("rp,bphw->brhw", _matrix(x.dtype, x.device, inverse=True), change)

    def _planes(self, levels: Tensor) -> list[Tensor]:
        """Y, less its middle of 128 as the standard shifts it, and Cb and Cr about 0."""
        # On [-1, 1] times 127.5 the middle of the levels is 127.5.
        shift = LEVELS - 128
        if len(self.sampling) == 1:
            return [levels.mean(dim=1, keepdim=True) + shift]
        ycc = torch.einsum("pr,brhw->bphw", _matrix(levels.dtype, levels.device), levels)
        return [ycc[:, :1] + shift, ycc[:, 1:2], ycc[:, 2:]]


class JpegIntervals(Interval):
    """What JPEG files say of pictures: each coefficient lies within half a step of what was stored.

    The errors of Y, Cb and Cr are taken for independent.

    Args:
        size, sampling, orientation: as of :class:`BlockDCT`.
        coefficients: of each plane (B, rows of blocks, columns, 8, 8), as stored; blocks that are
            missing at the end of rows or columns say nothing.
        tables: of each plane (B, 8, 8), the steps.
        noise_level: as of :class:`~diffpir.operators.interval.Interval`.
        channels: as of :class:`BlockDCT`.
    """

    def __init__(
        self,
        size: tuple[int, int],
        sampling: Sequence[tuple[int, int]],
        coefficients: Sequence[Tensor],
        tables: Sequence[Tensor],
        orientation: int = 1,
        noise_level: Rho = 0.0,
        channels: int = 3,
    ):
        transform = BlockDCT(size, sampling, orientation, channels)
        low, high = [], []
        probe = transform.forward(upright(torch.zeros(1, channels, *size), orientation))
        for stored, table, like in zip(coefficients, tables, probe, strict=True):
            steps = table[:, None, None]
            rows, columns = like.shape[1:3]
            padding = (0, 0, 0, 0, 0, columns - stored.shape[2], 0, rows - stored.shape[1])
            low.append(F.pad((stored - 0.5) * steps - ROUNDING, padding, value=-math.inf))
            high.append(F.pad((stored + 0.5) * steps + ROUNDING, padding, value=math.inf))
        super().__init__(transform, low, high, noise_level)


def upright(x: Tensor, orientation: int) -> Tensor:
    """A picture (..., H, W) turned as EXIF's orientation, 1 to 8, says."""
    if orientation in (5, 6, 7, 8):
        x = x.transpose(-1, -2)
    if orientation in (2, 3, 6, 7):
        x = x.flip(-1)
    return x.flip(-2) if orientation in (3, 4, 7, 8) else x


def as_stored(x: Tensor, orientation: int) -> Tensor:
    """What :func:`upright` turns into x."""
    return upright(x, {6: 8, 8: 6}.get(orientation, orientation))


def expected_error(table: Tensor) -> float:
    """Root mean square of what quantisation takes from a natural picture, on [-1, 1].

    Args:
        table: (8, 8), the steps of the luma. A coefficient errs by as much as its step allows, or
            as it varies in pictures where the step hides it: with the power -2.7 of the frequency.
    """
    k = torch.arange(BLOCK, dtype=torch.float64)
    square = k[:, None] ** 2 + k[None] ** 2
    natural = NATURAL_POWER * square.clamp(min=1) ** -1.36
    error = torch.minimum(table.to(torch.float64) ** 2 / 12, natural)
    return error.mean().sqrt().item() / LEVELS


@cache
def _matrix(dtype: torch.dtype, device: torch.device, inverse: bool = False) -> Tensor:
    matrix = torch.tensor(TO_YCC, dtype=torch.float64)
    return (torch.linalg.inv(matrix) if inverse else matrix).to(device, dtype)


@cache
def _dct(dtype: torch.dtype, device: torch.device) -> Tensor:
    """(8, 8), orthonormal DCT-II: frequencies down, pixels across."""
    k = torch.arange(BLOCK, dtype=torch.float64)
    matrix = torch.cos((2 * k[None] + 1) * k[:, None] * math.pi / (2 * BLOCK))
    matrix *= torch.where(k[:, None] == 0, BLOCK**-0.5, (BLOCK / 2) ** -0.5)
    return matrix.to(device, dtype)


def _blocks_dct(plane: Tensor) -> Tensor:
    batch, height, width = plane.shape
    blocks = plane.reshape(batch, height // BLOCK, BLOCK, width // BLOCK, BLOCK).transpose(2, 3)
    dct = _dct(plane.dtype, plane.device)
    return dct @ blocks @ dct.T


def _blocks_idct(coefficients: Tensor) -> Tensor:
    dct = _dct(coefficients.dtype, coefficients.device)
    blocks = (dct.T @ coefficients @ dct).transpose(2, 3)
    batch, rows, _, columns, _ = blocks.shape
    return blocks.reshape(batch, rows * BLOCK, columns * BLOCK)


def _spread(plane: Tensor, vertical: int, horizontal: int) -> Tensor:
    """Each sample for all of its pixels."""
    if vertical > 1:
        plane = plane.repeat_interleave(vertical, dim=1)
    return plane.repeat_interleave(horizontal, dim=2) if horizontal > 1 else plane
