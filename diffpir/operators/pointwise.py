"""Operators that look at each pixel alone."""

from __future__ import annotations

import torch
from torch import Tensor

from diffpir.operators.protocol import Rho, batched_mask, per_image


class Denoise:
    """``A = I``."""

    def forward(self, x: Tensor) -> Tensor:
        return x

    def adjoint(self, y: Tensor) -> Tensor:
        return y

    def prox(self, x: Tensor, y: Tensor, rho: Rho) -> Tensor:
        return x + (y - x) / (1 + per_image(rho, x))

    def initial(self, y: Tensor) -> Tensor:
        return y

    def impose(self, x: Tensor, y: Tensor) -> Tensor:
        return y

    def frame(self, x: Tensor) -> Tensor:
        return x


class Inpaint:
    """Known pixels only: ``A = diag(m)``.

    Args:
        mask: (H, W), (1, H, W) or (B, 1 or C, H, W); 1 where the pixel is known, 0 where hidden.
    """

    def __init__(self, mask: Tensor):
        if not torch.all((mask == 0) | (mask == 1)):
            raise ValueError("a mask holds 0 (hidden) and 1 (known) only")
        self.mask = batched_mask(mask)

    def forward(self, x: Tensor) -> Tensor:
        return self.mask * x

    def adjoint(self, y: Tensor) -> Tensor:
        return self.mask * y

    def prox(self, x: Tensor, y: Tensor, rho: Rho) -> Tensor:
        return x + self.mask * (y - x) / (1 + per_image(rho, x))

    def initial(self, y: Tensor) -> Tensor:
        return self.mask * y

    def impose(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.where(self.mask == 1, y, x)

    def frame(self, x: Tensor) -> Tensor:
        return x
