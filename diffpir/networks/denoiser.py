"""A network as the sampler's ``(x_t, t) -> x0``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from diffpir.errors import ConfigError
from diffpir.networks.diffusion import Diffusion, Prediction
from diffpir.networks.precision import layout_for
from diffpir.networks.unet import UNet
from diffpir.schedule import Schedule


@dataclass(frozen=True)
class EpsDenoiser:
    """Make a denoiser ``(x_t, t) -> x0`` from a network, as the sampler needs it.

    Images may have any height and width: they are padded by reflection to a size that the network
    can take, and its answer is cropped.

    Attributes:
        net: the network. For C channels, its prediction is in the first C channels of its answer.
        schedule: the noise schedule that ``net`` was trained with.
        label: the class index for a class-conditional network, None for an unconditional one.
        prediction: what ``net`` predicts: ``epsilon`` (the noise), ``v``, or ``x0`` (the image).
        rescale_timesteps: whether ``net`` is given ``1000 t / T`` instead of t.

    Raises:
        ConfigError: the network's channels or ``label`` do not fit.

    Examples:
        >>> import torch
        >>> from diffpir import EpsDenoiser, Schedule, builtin_path, load_model
        >>> denoise = EpsDenoiser(load_model(builtin_path()), Schedule.linear())
        >>> denoise(torch.zeros(1, 3, 40, 50), 100).shape
        torch.Size([1, 3, 40, 50])
    """

    net: UNet
    schedule: Schedule
    label: int | None = None
    prediction: Prediction = "epsilon"
    rescale_timesteps: bool = False

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

    @property
    def channels(self) -> int:
        """C, of the images that are denoised."""
        return self.net.config.in_channels

    @cached_property
    def diffusion(self) -> Diffusion:
        return Diffusion(
            schedule=self.schedule,
            prediction=self.prediction,
            rescale_timesteps=self.rescale_timesteps,
        )

    def __call__(self, x_t: Tensor, t: int) -> Tensor:
        """x0, on [-1, 1] as far as the network keeps to it.

        Of an x_t that requires a gradient x0 can be differentiated; that takes a network without
        fused kernels (:func:`diffpir.networks.precision.place`).
        """
        gradients = x_t.requires_grad
        with torch.enable_grad() if gradients else torch.inference_mode():
            return self._denoised(x_t, t)

    def _denoised(self, x_t: Tensor, t: int) -> Tensor:
        height, width = x_t.shape[-2:]
        stride = self.net.config.stride
        # x0 is told of the state as the network sees it, rounded: what it does not see of x_t
        # would stand in x0 sigma_bar times as large.
        seen = x_t.to(self.net.dtype)
        # At least two pixels a side at the coarsest level: a norm over one is none.
        padded = pad_to_multiple(seen, stride, at_least=2 * stride)
        step = torch.full((1,), self.diffusion.told(t), device=x_t.device)
        label = None if self.label is None else torch.full((1,), self.label, device=x_t.device)
        padded = padded.contiguous(memory_format=layout_for(self.net))
        with torch.cuda.device_of(padded):  # where Triton starts its kernels
            out: Tensor = self.net(padded, step, label)
        answer = out[:, : self.channels, :height, :width]
        answer = answer.to(x_t.dtype, memory_format=torch.contiguous_format)
        return self.diffusion.clean(seen.to(x_t.dtype), answer, t)


def pad_to_multiple(x: Tensor, multiple: int, at_least: int = 0) -> Tensor:
    """Extend (B, C, H, W) at the bottom and right, by reflection as far as that goes."""
    height, width = x.shape[-2:]
    down, right = (max(at_least, side + -side % multiple) - side for side in (height, width))
    # Reflection needs more pixels than it adds; a tiny image repeats its border instead.
    mode = "reflect" if right < width and down < height else "replicate"
    return F.pad(x, (0, right, 0, down), mode) if down or right else x
