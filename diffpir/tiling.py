"""Denoising large images in overlapping tiles whose answers are blended."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffpir.config import TILE
from diffpir.networks.denoiser import pad_to_multiple

OVERLAP = 96


@dataclass(frozen=True)
class _Tile:
    """Views (C, h, w) of an image and its x0, its label, and what it counts, down and across."""

    source: Tensor
    target: Tensor
    label: int | None
    weights: tuple[Tensor, Tensor] | None


class Tiled:
    """Denoises images of any sizes in calls of a bounded size; the data step stays global.

    An image of at most ``tile ** 2`` pixels is denoised whole. A larger one is cut into equal,
    evenly spread tiles; where they overlap, each counts with a raised cosine that is zero in the
    outermost quarter of the overlap, where a network sees too little of the surroundings. So what
    looks no further than that quarter gives the same with tiles and without. Tiles and images of
    one size share calls, whatever images they are of.

    Args:
        denoise: ``(x_t, t) -> x0``; with labels ``(x_t, t, labels) -> x0``.
        tile: side of a tile in pixels, a multiple of ``multiple``; shorter sides are not cut.
        overlap: of neighbouring tiles at least, in pixels, less than ``tile``.
        batch_pixels: of a call at most, but for one tile or image; may be lowered between calls.
        multiple: of which all sides are that ``denoise`` sees; images are padded by reflection.
        apart: ``denoise`` takes one channel: those of an image are denoised as so many images.
        few_shapes: calls of fewer images than fit are filled up to a power of two with repetitions,
            for a ``denoise`` that is made ready for each number of images.
        evaluations: images that the network sees for each of a call.
    """

    def __init__(
        self,
        denoise: Callable[..., Tensor],
        tile: int = TILE,
        overlap: int = OVERLAP,
        batch_pixels: int = TILE**2,
        multiple: int = 1,
        apart: bool = False,
        few_shapes: bool = False,
        evaluations: int = 1,
    ):
        if tile % multiple or not 0 <= overlap < tile or tile < 1:
            raise ValueError(
                f"tile {tile} must be a multiple of {multiple} and above the overlap {overlap}"
            )
        self.denoise, self.tile, self.overlap = denoise, tile, overlap
        self.batch_pixels, self.multiple = batch_pixels, multiple
        self.apart, self.few_shapes, self.evaluations = apart, few_shapes, evaluations
        # Weights where they are used: bringing them there would stop a GPU at every step.
        self._known: dict[tuple[int, torch.dtype, torch.device], list[tuple[int, Tensor]]] = {}

    def cuts(self, height: int, width: int) -> bool:
        """Whether images of that size are denoised in tiles."""
        return height * width > self.tile**2

    def pixels_seen(self, height: int, width: int) -> int:
        """That ``denoise`` computes for one image of that size: with its padding and overlaps."""
        height, width = (-(-side // self.multiple) * self.multiple for side in (height, width))
        if not self.cuts(height, width):
            return height * width
        rows, columns = (len(self._windows(side)) for side in (height, width))
        return rows * min(self.tile, height) * columns * min(self.tile, width)

    def __call__(
        self, states: Sequence[Tensor], t: int, labels: Sequence[Sequence[int]] | None = None
    ) -> list[Tensor]:
        """x0 of each x_t; the states are (B, C, H, W), of different sizes if need be.

        Of states that require a gradient x0 is differentiable, and they are denoised whole.

        Args:
            states: x_t.
            t: their timestep.
            labels: of each state, one of each image (B), where the network takes them.
        """
        if self.apart:
            planes = [x_t.reshape(-1, 1, *x_t.shape[-2:]) for x_t in states]
            if labels is not None:
                labels = [
                    [label for label in row for _ in range(x_t.shape[1])]
                    for row, x_t in zip(labels, states, strict=True)
                ]
            denoised = self._denoised(planes, t, labels)
            return [x0.reshape(x_t.shape) for x_t, x0 in zip(states, denoised, strict=True)]
        return self._denoised(states, t, labels)

    def _denoised(
        self, states: Sequence[Tensor], t: int, labels: Sequence[Sequence[int]] | None
    ) -> list[Tensor]:
        of_states = [[]] * len(states) if labels is None else [[row] for row in labels]
        if any(x_t.requires_grad for x_t in states):
            return [self.denoise(x, t, *row) for x, row in zip(states, of_states, strict=True)]
        padded = [pad_to_multiple(x_t, self.multiple) for x_t in states]
        found = [torch.zeros_like(x_t) for x_t in padded]
        calls: dict[tuple[int, int], list[_Tile]] = defaultdict(list)
        for x_t, row, source, target in zip(states, of_states, padded, found, strict=True):
            marks: Sequence[int | None] = row[0] if row else [None] * len(x_t)
            for tile in self._tiles(x_t.shape[-2:], source, target, marks):
                height, width = tile.source.shape[-2:]
                calls[height, width].append(tile)
        for (height, width), tiles in calls.items():
            at_once = max(1, self.batch_pixels // (height * width * self.evaluations))
            for start in range(0, len(tiles), at_once):
                chunk = tiles[start : start + at_once]
                count = min(at_once, _power_of_two(len(chunk))) if self.few_shapes else len(chunk)
                filled = chunk + [chunk[-1]] * (count - len(chunk))
                own = [] if labels is None else [[tile.label for tile in filled]]
                sources = torch.stack([tile.source for tile in filled])
                answers = self.denoise(sources, t, *own)[: len(chunk)]
                for tile, x0 in zip(chunk, answers, strict=True):
                    if tile.weights:
                        down, across = tile.weights
                        x0 = x0 * down[:, None] * across
                    tile.target.add_(x0)
        return [x0[..., : x.shape[-2], : x.shape[-1]] for x, x0 in zip(states, found, strict=True)]

    def _tiles(
        self,
        size: Sequence[int],
        source: Tensor,
        target: Tensor,
        labels: Sequence[int | None],
    ) -> Iterator[_Tile]:
        images = list(zip(source, target, labels, strict=True))
        if not self.cuts(*size):
            yield from (_Tile(*image, None) for image in images)
            return
        rows, columns = (self._windows_like(side, source) for side in source.shape[-2:])
        for (top, down), (left, across) in itertools.product(rows, columns):
            place = (..., slice(top, top + len(down)), slice(left, left + len(across)))
            for x_t, x0, label in images:
                yield _Tile(x_t[place], x0[place], label, (down, across))

    def _windows_like(self, size: int, x: Tensor) -> list[tuple[int, Tensor]]:
        key = size, x.dtype, x.device
        if key not in self._known:
            self._known[key] = [(start, window.to(x)) for start, window in self._windows(size)]
        return self._known[key]

    def _windows(self, size: int) -> list[tuple[int, Tensor]]:
        """Along one axis: where each tile starts, and its weights; at each pixel they sum to 1."""
        tile = min(self.tile, size)
        # Tiles start at multiples only: both in their units, so that rounding costs no overlap.
        room, most = (size - tile) // self.multiple, (tile - self.overlap) // self.multiple
        count = -(-room // max(1, most)) + 1
        starts = [i * room // max(1, count - 1) * self.multiple for i in range(count)]
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


def _power_of_two(count: int) -> int:
    """The least that is not below ``count``."""
    return 1 << (count - 1).bit_length()


def _ramp(overlap: int) -> Tensor:
    """(overlap,) from 0 to 1: zeros, a raised cosine over the middle half, ones."""
    place = (torch.arange(overlap, dtype=torch.float64) + 0.5) / overlap
    return (1 - torch.cos(torch.pi * ((place - 0.25) * 2).clamp(0, 1))) / 2
