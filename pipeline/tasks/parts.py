"""What an operator is made of: the parts of one image, and of a batch of images."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Mode = Literal["restore", "benchmark"]
Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Parts:
    """What the operator of one image is made of.

    Attributes:
        arrays: by name. Images whose arrays have the same names and shapes share a batch. A
            ``mask``, (1 or C, h, w) float32, is 1 where the measurement is known.
        outcome: columns of the result that are known by now, such as ``kernel_estimate``.
        key: images share a batch only if they agree in it too.
        scale: how many times as high the noise levels are that ``karras`` and ``geometric``
            spacing go through for this image.
    """

    arrays: Arrays = field(default_factory=dict)
    outcome: Mapping[str, Any] = field(default_factory=dict)
    key: Hashable = None
    scale: float = 1.0


@dataclass(frozen=True)
class BatchParts:
    """What the operator of several images that share all shapes is made of.

    Attributes:
        arrays: the parts of each image.
        size: (h, w) of the measurements.
        mode: of the job.
        device: where the operator is to work.
    """

    arrays: Sequence[Arrays]
    size: tuple[int, int]
    mode: Mode
    device: str | torch.device = "cpu"

    def stacked(self, name: str) -> Tensor:
        """The part of this name of each image, as one float32 tensor with a batch axis."""
        return stacked(self.arrays, name, self.device)


def stacked(arrays: Sequence[Arrays], name: str, device: str | torch.device = "cpu") -> Tensor:
    """The part of this name of each image, as one float32 tensor with a batch axis."""
    import torch

    return torch.from_numpy(np.stack([a[name] for a in arrays]).astype(np.float32)).to(device)


def mask_of(arrays: Arrays) -> Tensor | None:
    """The mask of one image, (1, 1 or C, h, w), if some of its measurement is hidden."""
    return stacked([arrays], "mask") if "mask" in arrays else None
