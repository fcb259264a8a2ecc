"""A noise-predicting network as the sampler's ``(x_t, t) -> x0``."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from diffpir.errors import ConfigError
from diffpir.networks.precision import layout_for
from diffpir.networks.unet import UNet
from diffpir.schedule import Schedule


@dataclass(frozen=True)
class EpsDenoiser:
    """``x0 = (x_t - sqrt(1 - abar_t) eps(x_t, t)) / sqrt(abar_t)`` (Ho et al. 2020, eq. 15).

    Images of any height and width: they are padded by reflection to what the network needs, and
    its answer is cropped.

    Attributes:
        net: predicts the noise of its C channels in the first C that it gives.
        schedule: the one that ``net`` was trained with.
        label: class index for a class-conditional network, None for an unconditional one.
    """

    net: UNet
    schedule: Schedule
    label: int | None = None

    def __post_init__(self) -> None:
        classes = self.net.config.num_classes
        taken, given = self.net.config.in_channels, self.net.config.out_channels
        if given not in (taken, 2 * taken):
            raise ConfigError(
                f"a prior gives as many channels as it takes, or twice as many, this network "
                f"takes {taken} and gives {given}"
            )
        if classes and not (type(self.label) is int and 0 <= self.label < classes):
            raise ConfigError(f"a class-conditional network needs a label from 0 to {classes - 1}")
        if not classes and self.label is not None:
            raise ConfigError("an unconditional network takes no label")

    @torch.inference_mode()
    def __call__(self, x_t: Tensor, t: int) -> Tensor:
        height, width = x_t.shape[-2:]
        stride = self.net.config.stride
        # x0 is told of the state as the network sees it, rounded: what it does not see of x_t
        # would stand in x0 sigma_bar times as large.
        seen = x_t.to(self.net.dtype)
        # At least two pixels a side at the coarsest level: a norm over one is none.
        padded = pad_to_multiple(seen, stride, at_least=2 * stride)
        step = torch.full((1,), t, device=x_t.device)
        label = None if self.label is None else torch.full_like(step, self.label)
        padded = padded.contiguous(memory_format=layout_for(self.net))
        with torch.cuda.device_of(padded):  # where Triton starts its kernels
            out: Tensor = self.net(padded, step, label)
        eps = out[:, : x_t.shape[1], :height, :width].to(
            x_t.dtype, memory_format=torch.contiguous_format
        )
        alpha_bar = float(self.schedule.alpha_bar[t])
        x0: Tensor = (seen.to(x_t.dtype) - (1 - alpha_bar) ** 0.5 * eps) / alpha_bar**0.5
        return x0


def pad_to_multiple(x: Tensor, multiple: int, at_least: int = 0) -> Tensor:
    """Extend (B, C, H, W) at the bottom and right, by reflection as far as that goes."""
    height, width = x.shape[-2:]
    down, right = (max(at_least, side + -side % multiple) - side for side in (height, width))
    # Reflection needs more pixels than it adds; a tiny image repeats its border instead.
    mode = "reflect" if right < width and down < height else "replicate"
    return F.pad(x, (0, right, 0, down), mode) if down or right else x
