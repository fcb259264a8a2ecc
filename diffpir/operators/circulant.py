"""What an unknown operator has in common with a circular convolution, for preconditioning."""

from __future__ import annotations

import torch
from torch import Tensor

from diffpir.operators.circular import filtered
from diffpir.operators.protocol import Map

ALIKE = 0.5  # the relative difference from a circular convolution, above which it is of no use


def circular_gain(gram: Map, y: Tensor) -> Tensor | None:
    """The eigenvalues of the circular convolution that ``A A^T`` resembles, if it resembles one.

    The image of one bright pixel in the middle is taken for the convolution's kernel. Whether that
    is fair is then asked with an image of noise.

    Args:
        gram: ``A A^T``, symmetric, (B, C, H, W) to the same shape.
        y: of that shape; its values do not matter.

    Returns:
        (B, 1, H, W // 2 + 1) for ``rfft2``, not negative; None where ``A A^T`` is something else.
    """
    height, width = y.shape[-2:]
    pixel = torch.zeros_like(y)
    pixel[..., height // 2, width // 2] = 1
    kernel = gram(pixel).mean(dim=1, keepdim=True)
    kernel = kernel.roll((-(height // 2), -(width // 2)), dims=(-2, -1))
    gain = torch.fft.rfft2(kernel).real.clamp(min=0)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(y.shape, generator=generator).to(y)
    there = gram(noise)
    alike = (there - filtered(noise, gain)).norm() <= ALIKE * there.norm()
    return gain if alike else None
