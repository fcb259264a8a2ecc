"""Whether a user's network does what a prior must, as far as a few small images show."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from diffpir.errors import ConfigError
from diffpir.networks.custom import CustomNet
from diffpir.networks.denoiser import EpsDenoiser

SIDE = 64  # of the images, in pixels, or more where sides must be multiples of more
SIGMA = 1.0  # noise level, on the [-1, 1] scale
TOLERANCE = 1e-2  # of x0, as a share of its largest value


def check_custom(denoise: EpsDenoiser, *, gradients: bool = False) -> None:
    """Try a prior of the user's own on small images of two sizes, alone and together.

    Args:
        denoise: the prior; nothing is tried of a network that is not the user's own.
        gradients: whether x0 must be differentiable by x_t.

    Raises:
        ConfigError: the network fails, or its answers are not finite, depend on the other images
            of a batch or on chance, or cannot be differentiated; says which.
    """
    if not isinstance(denoise.net, CustomNet):
        return
    name, stride = denoise.net.name, denoise.net.config.stride
    t = denoise.schedule.nearest(SIGMA)
    side = -(-SIDE // stride) * stride
    generator = torch.Generator().manual_seed(0)
    alpha_bar = float(denoise.schedule.alpha_bar[t])

    def state(images: int, width: int) -> Tensor:
        noise = torch.randn(images, denoise.channels, side, width, generator=generator)
        return math.sqrt(1 - alpha_bar) * noise

    def tried(x_t: Tensor, labels: list[int]) -> Tensor:
        try:
            x0 = denoise(x_t, t, labels if denoise.classes else None)
        except ConfigError:
            raise
        except Exception as e:  # whatever a user's code raises
            raise ConfigError(
                f"{name} cannot denoise images of {x_t.shape[3]} x {x_t.shape[2]} pixels, t = {t}: "
                f"{type(e).__name__}: {' '.join(str(e).split())[:300]}"
            ) from None
        if not x0.isfinite().all():
            raise ConfigError(f"{name} gives values that are not finite, at t = {t}")
        return x0

    x_t, last = state(2, side), max(denoise.classes - 1, 0)
    together = tried(x_t, [0, last])
    alone = torch.cat([tried(x_t[:1], [0]), tried(x_t[1:], [last])])
    difference = float((together - alone).abs().max())
    if difference > TOLERANCE * max(1.0, float(alone.abs().max())):
        raise ConfigError(
            f"{name} gives an image another x0 in a batch than alone, up to {difference:.2g} of "
            "it: images must be treated apart, and the same input must have the same answer"
        )
    tried(state(1, side + max(stride, SIDE // 2 // stride * stride)), [last])
    if gradients and not tried(x_t[:1].requires_grad_(), [0]).requires_grad:
        raise ConfigError(
            f"{name} gives an x0 that cannot be differentiated by x_t, which this method does: let "
            "it work without torch.no_grad() and torch.inference_mode()"
        )
