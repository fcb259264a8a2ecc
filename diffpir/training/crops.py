"""Random crops of photographs as a numbered, reproducible stream."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import Dataset


class CropStream(Dataset[torch.Tensor]):
    """Crop number n is a function of the seed and n alone, so that a resumed run goes on exactly.

    Args:
        images: uint8 arrays (H, W, C), each side at least ``size``. Indexed, never iterated:
            anything with ``__getitem__`` and ``__len__`` will do, decoding as it goes.
        weights: relative frequency of each image; None for equal.
        size: side of the square crops.
        seed: of the stream.
        start, stop: the numbers of the first crop and of the one after the last.
    """

    def __init__(
        self,
        images: Sequence[np.ndarray],
        weights: Sequence[float] | None,
        size: int,
        seed: int,
        start: int,
        stop: int,
    ):
        share = np.ones(len(images)) if weights is None else np.asarray(weights, np.float64)
        self.images, self.size, self.seed = images, size, seed
        self.cumulative = np.cumsum(share / share.sum())
        self.start, self.stop = start, stop

    def __len__(self) -> int:
        return self.stop - self.start

    def __getitem__(self, n: int) -> torch.Tensor:
        """(C, size, size) uint8, mirrored half of the time."""
        rng = np.random.default_rng((self.seed, self.start + n))
        which = int(np.searchsorted(self.cumulative, rng.random(), "right"))
        image = self.images[min(which, len(self.images) - 1)]
        top = rng.integers(image.shape[0] - self.size + 1)
        left = rng.integers(image.shape[1] - self.size + 1)
        crop = image[top : top + self.size, left : left + self.size]
        if rng.random() < 0.5:
            crop = crop[:, ::-1]
        return torch.from_numpy(np.ascontiguousarray(crop.transpose(2, 0, 1)))
