"""Which pixels of a row's image were measured."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from diffpir.masks import box_mask, random_mask
from pipeline.errors import RowError
from pipeline.problems.assets import Assets
from pipeline.spec import JobSpec


def mask_of(
    own: np.ndarray | None,
    spec: JobSpec,
    assets: Assets,
    height: int,
    width: int,
    rng: np.random.Generator,
) -> Tensor:
    """(1, 1, height, width), 1 where the pixel is known.

    The row's ``own`` mask (H, W) wins over the file that the task names, and that over one drawn.

    Raises:
        RowError: it is of another size, too small a picture for the box, or there is none.
    """
    choice = spec.task.mask
    mask = own if own is not None else assets.mask
    if mask is not None:
        if mask.shape != (height, width):
            raise RowError(
                f"the mask is {mask.shape[1]} x {mask.shape[0]} pixels, "
                f"expected {width} x {height}",
                "size_mismatch",
            )
        mask = mask[None]
    elif choice is None:
        raise RowError("no mask: neither the row nor the task gives one", "missing_input")
    elif choice.random is not None:
        mask = random_mask(height, width, choice.random, rng)
    else:
        try:
            mask = box_mask(height, width, choice.box, rng)
        except ValueError as e:
            raise RowError(str(e), "size_mismatch") from None
    return torch.from_numpy(np.ascontiguousarray(mask, np.float32))[None]
