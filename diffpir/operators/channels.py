"""Operators that mix the channels of each pixel: grey pictures, sensors with a colour filter."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from diffpir.operators.pointwise import Inpaint
from diffpir.operators.protocol import Map, Rho, per_image

LUMA = (0.299, 0.587, 0.114)  # BT.601, of R'G'B'
PATTERNS = ("rggb", "bggr", "grbg", "gbrg")


class MixChannels:
    """``y = sum_c w_c x_c`` at each pixel: (B, C, H, W) -> (B, 1, H, W). ``A A^T`` is diagonal.

    Args:
        weights: (1, C, H, W) or (1, C, 1, 1), not all zero at any pixel.
    """

    def __init__(self, weights: Tensor):
        self.weights = weights
        self.power = (weights**2).sum(dim=1, keepdim=True)
        # Of a scene of equal channels it measures just those.
        self.keeps_grey = bool((weights.sum(dim=1) - 1).abs().max() < 1e-6)

    def forward(self, x: Tensor) -> Tensor:
        return (self.weights * x).sum(dim=1, keepdim=True)

    def adjoint(self, y: Tensor) -> Tensor:
        return self.weights * y

    def prox(self, x: Tensor, y: Tensor, rho: Rho) -> Tensor:
        return x + self.adjoint((y - self.forward(x)) / (self.power + per_image(rho, x)))

    def spectral(self, r: Tensor, f: Map) -> Tensor:
        return f(self.power) * r

    def initial(self, y: Tensor) -> Tensor:
        return y.expand(-1, self.weights.shape[1], -1, -1).clone()

    def impose(self, x: Tensor, y: Tensor) -> Tensor:
        # The nearest x that agrees with y.
        x = x + self.adjoint((y - self.forward(x)) / self.power)
        if not self.keeps_grey:
            return x
        # Cut to [0, 1] it would agree no more: nearer to grey, it does.
        colour = x - y
        room = torch.where(colour > 0, 1 - y, y)
        share = (room / colour.abs().clamp(min=1e-12)).amin(dim=1, keepdim=True)
        return y + share.clamp(0, 1) * colour

    def frame(self, x: Tensor) -> Tensor:
        return x


class Mosaic(MixChannels):
    """Each pixel shows one channel: (B, C, H, W) -> (B, 1, H, W).

    The start image takes each channel's missing values from their neighbours.

    Args:
        mask: (1, C, H, W), 1 for the channel that a pixel shows and 0 for the others.
    """

    def __init__(self, mask: Tensor):
        super().__init__(mask)
        self.keeps_grey = False  # a scene of equal channels may have had colours
        self.inpaint = Inpaint(mask)  # measures the same values: ``A^T y`` in place of y

    def initial(self, y: Tensor) -> Tensor:
        return _bilinear(self.weights * y, self.weights)


def luminance(
    dtype: torch.dtype = torch.float32, device: str | torch.device = "cpu"
) -> MixChannels:
    """Colourisation: of a colour picture only the luma was kept (BT.601).

    Args:
        dtype: of the images.
        device: of the images.

    Examples:
        >>> import torch
        >>> from diffpir import luminance
        >>> luminance().forward(torch.ones(1, 3, 8, 8)).shape
        torch.Size([1, 1, 8, 8])
    """
    return MixChannels(torch.tensor(LUMA, dtype=dtype, device=device).reshape(1, 3, 1, 1))


def bayer(
    height: int,
    width: int,
    pattern: str = "rggb",
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
) -> Mosaic:
    """Demosaicing: a sensor with a Bayer filter measures one colour at each pixel.

    Args:
        height: of the sensor in pixels.
        width: of the sensor in pixels.
        pattern: the filter's upper-left 2 x 2 pixels, row by row: rggb, bggr, grbg or gbrg.
        dtype: of the images.
        device: of the images.

    Raises:
        ValueError: ``pattern`` is none of the four.

    Examples:
        >>> import torch
        >>> from diffpir import bayer
        >>> bayer(8, 8).forward(torch.ones(1, 3, 8, 8)).shape
        torch.Size([1, 1, 8, 8])
    """
    if pattern not in PATTERNS:
        raise ValueError(f"pattern must be one of {', '.join(PATTERNS)}, got {pattern!r}")
    mask = torch.zeros(1, 3, height, width, dtype=dtype, device=device)
    for place, colour in enumerate(pattern):
        mask[0, "rgb".index(colour), place // 2 :: 2, place % 2 :: 2] = 1
    return Mosaic(mask)


def _bilinear(known: Tensor, mask: Tensor) -> Tensor:
    """Each channel's known values as they are, the others as the mean of the known around them."""
    channels = mask.shape[1]
    tent = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]).to(known)
    tent = tent.expand(channels, 1, 3, 3)
    total = F.conv2d(known, tent, padding=1, groups=channels)
    count = F.conv2d(mask, tent, padding=1, groups=channels)
    return torch.where(mask == 1, known, total / count.clamp(min=1))
