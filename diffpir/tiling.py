"""Denoising large images in overlapping tiles whose answers are blended."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from diffpir.networks.denoiser import pad_to_multiple
from diffpir.sampler import Denoiser

TILE, OVERLAP = 512, 96


class Tiled:
    """A denoiser whose network never sees more than a tile; the data step stays global.

    An image of at most ``tile ** 2`` pixels is denoised whole. A larger one is cut into equal,
    evenly spread tiles; where they overlap, each counts with a raised cosine that is zero in the
    outermost quarter of the overlap, where a network sees too little of the surroundings. So what
    looks no further than that quarter gives the same with tiles and without.

    Args:
        denoise: ``(x_t, t) -> x0``.
        tile: side of a tile in pixels, a multiple of ``stride``; shorter sides are not cut.
        overlap: of neighbouring tiles at least, in pixels, less than ``tile``.
        batch: tiles per call, of all images of a batch together; may be lowered between calls.
        stride: tiles begin at multiples of it, as a network that pools wants.
    """

    def __init__(
        self,
        denoise: Denoiser,
        tile: int = TILE,
        overlap: int = OVERLAP,
        batch: int = 1,
        stride: int = 1,
    ):
        if tile % stride or not 0 <= overlap < tile or tile < 1:
            raise ValueError(
                f"tile {tile} must be a multiple of {stride} and above the overlap {overlap}"
            )
        self.denoise, self.tile, self.overlap = denoise, tile, overlap
        self.batch, self.stride = batch, stride

    def cuts(self, height: int, width: int) -> bool:
        """Whether images of that size are denoised in tiles."""
        return height * width > self.tile**2

    def __call__(self, x_t: Tensor, t: int) -> Tensor:
        height, width = x_t.shape[-2:]
        if not self.cuts(height, width):
            return self.denoise(x_t, t)
        padded = pad_to_multiple(x_t, self.stride)
        x0 = torch.zeros_like(padded)
        rows, columns = (
            [(start, window.to(x_t)) for start, window in self._windows(side)]
            for side in padded.shape[-2:]
        )
        tiles = [
            (
                (i, slice(None), slice(top, top + len(down)), slice(left, left + len(across))),
                (down, across),
            )
            for i, (top, down), (left, across) in itertools.product(range(len(x_t)), rows, columns)
        ]
        for start in range(0, len(tiles), self.batch):
            chunk = tiles[start : start + self.batch]
            found = self.denoise(torch.stack([padded[place] for place, _ in chunk]), t)
            for tile, (place, (down, across)) in zip(found, chunk, strict=True):
                x0[place] += tile * down[:, None] * across
        return x0[..., :height, :width]

    def _windows(self, size: int) -> list[tuple[int, Tensor]]:
        """Along one axis: where each tile starts, and its weights; at each pixel they sum to 1."""
        tile = min(self.tile, size)
        count = -(-(size - self.overlap) // (tile - self.overlap)) if size > tile else 1
        room = (size - tile) // self.stride
        starts = [i * room // max(1, count - 1) * self.stride for i in range(count)]
        weights = torch.ones(count, tile, dtype=torch.float64)
        for i in range(count - 1):
            ramp = _ramp(starts[i] + tile - starts[i + 1])
            weights[i + 1, : len(ramp)] *= ramp
            weights[i, tile - len(ramp) :] *= 1 - ramp
        total = torch.zeros(size, dtype=torch.float64)
        for start, window in zip(starts, weights, strict=True):
            total[start : start + tile] += window
        return [
            (start, window / total[start : start + tile])
            for start, window in zip(starts, weights, strict=True)
        ]


def _ramp(overlap: int) -> Tensor:
    """(overlap,) from 0 to 1: zeros, a raised cosine over the middle half, ones."""
    place = (torch.arange(overlap, dtype=torch.float64) + 0.5) / overlap
    return (1 - torch.cos(torch.pi * ((place - 0.25) * 2).clamp(0, 1))) / 2
