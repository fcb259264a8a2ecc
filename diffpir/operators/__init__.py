"""Measurement operators, batched over images: linear ones ``y = A x + n``, and intervals.

What each is, and what an operator is: :class:`diffpir.operators.protocol.Operator`.
"""

from diffpir.operators.channels import MixChannels, Mosaic, bayer, luminance
from diffpir.operators.circular import Downsample
from diffpir.operators.compressed import Compressed
from diffpir.operators.interval import Interval, Pixels
from diffpir.operators.jpeg import JpegIntervals
from diffpir.operators.linear import Linear
from diffpir.operators.partial import PartialBlur
from diffpir.operators.pointwise import Denoise, Inpaint
from diffpir.operators.protocol import Decomposable, Operator, Rho, measured, per_image

__all__ = [
    "Compressed",
    "Decomposable",
    "Denoise",
    "Downsample",
    "Inpaint",
    "Interval",
    "JpegIntervals",
    "Linear",
    "MixChannels",
    "Mosaic",
    "Operator",
    "PartialBlur",
    "Pixels",
    "Rho",
    "bayer",
    "luminance",
    "measured",
    "per_image",
]
