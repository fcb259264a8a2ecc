"""A network as the sampler's ``(x_t, t) -> x0``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from diffpir.errors import ConfigError
from diffpir.networks.custom import CustomNet
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
        label: the class of images that are given none of their own; None for an unconditional
            network.
        prediction: what ``net`` predicts: ``epsilon`` (the noise), ``v``, or ``x0`` (the image).
        rescale_timesteps: whether ``net`` is given ``1000 t / T`` instead of t.
        null_label: the class that ``net`` was trained to know no class by; it is also that of
            images that are given none, where there is no ``label``.
        cfg: how far to go from what ``net`` says without a class to what it says with one
            (classifier-free guidance, Ho & Salimans 2022): 1 is the class alone, 0 none. Other
            values take two evaluations, in one batch of double size.

    Raises:
        ConfigError: the network's channels or labels do not fit.

    Examples:
        >>> import torch
        >>> from diffpir import EpsDenoiser, Schedule, builtin_path, load_model
        >>> denoise = EpsDenoiser(load_model(builtin_path()), Schedule.linear())
        >>> denoise(torch.zeros(1, 3, 40, 50), 100).shape
        torch.Size([1, 3, 40, 50])
    """

    net: UNet | CustomNet
    schedule: Schedule
    label: int | None = None
    prediction: Prediction = "epsilon"
    rescale_timesteps: bool = False
    null_label: int | None = None
    cfg: float = 1.0

    def __post_init__(self) -> None:
        classes = self.net.config.num_classes
        taken, given = self.net.config.in_channels, self.net.config.out_channels
        if given not in (taken, 2 * taken):
            raise ConfigError(
                f"a prior gives as many channels as it takes, or twice as many, this network "
                f"takes {taken} and gives {given}"
            )
        for name, label in (("label", self.label), ("null_label", self.null_label)):
            if label is None:
                continue
            if not classes:
                raise ConfigError(f"an unconditional network takes no {name}")
            if not (type(label) is int and 0 <= label < classes):
                raise ConfigError(
                    f"a class-conditional network needs a {name} from 0 to {classes - 1}, got "
                    f"{label!r}"
                )
        if self.cfg != 1 and self.null_label is None:
            raise ConfigError(
                f"cfg: {self.cfg:g} guides away from what the network says without a class: give "
                "the null_label that it was trained with"
            )

    @property
    def channels(self) -> int:
        """C, of the images that are denoised."""
        return self.net.config.in_channels

    @property
    def classes(self) -> int:
        """How many labels there are; 0 for an unconditional network."""
        return self.net.config.num_classes

    @property
    def usual_label(self) -> int | None:
        """Of images that are given none."""
        return self.null_label if self.label is None else self.label

    @property
    def evaluations(self) -> int:
        """Images that the network sees for each that is denoised."""
        return 1 if self.cfg in (0, 1) else 2

    @cached_property
    def diffusion(self) -> Diffusion:
        return Diffusion(
            schedule=self.schedule,
            prediction=self.prediction,
            rescale_timesteps=self.rescale_timesteps,
        )

    def __call__(self, x_t: Tensor, t: int, labels: Sequence[int] | None = None) -> Tensor:
        """x0, on [-1, 1] as far as the network keeps to it; ``labels`` has one of each image.

        Of an x_t that requires a gradient x0 can be differentiated; that takes a network without
        fused kernels (:func:`diffpir.networks.precision.place`).
        """
        gradients = x_t.requires_grad
        classes = self._classes(len(x_t), labels, x_t.device)
        with torch.enable_grad() if gradients else torch.inference_mode():
            return self._denoised(x_t, t, classes)

    def _classes(
        self, images: int, labels: Sequence[int] | None, device: torch.device
    ) -> Tensor | None:
        """(1,) where all images have one label, (B,) else; None for an unconditional network.

        Raises:
            ConfigError: labels that the network has not, or none where it needs one.
        """
        if not self.classes:
            if labels is not None:
                raise ConfigError("an unconditional network takes no label")
            return None
        if labels is None:
            if self.usual_label is None:
                raise ConfigError(
                    f"a class-conditional network needs a label from 0 to {self.classes - 1}"
                )
            labels = [self.usual_label] * images
        if len(labels) != images or not all(0 <= label < self.classes for label in labels):
            raise ConfigError(
                f"expected {images} labels from 0 to {self.classes - 1}, got {list(labels)}"
            )
        distinct = set(labels)
        return torch.tensor(list(distinct if len(distinct) == 1 else labels), device=device)

    def _denoised(self, x_t: Tensor, t: int, classes: Tensor | None) -> Tensor:
        height, width = x_t.shape[-2:]
        stride = self.net.config.stride
        # x0 is told of the state as the network sees it, rounded: what it does not see of x_t
        # would stand in x0 sigma_bar times as large.
        seen = x_t.to(self.net.dtype)
        # At least two pixels a side at the coarsest level: a norm over one is none.
        padded = pad_to_multiple(seen, stride, at_least=2 * stride)
        step = torch.full((1,), self.diffusion.told(t), device=x_t.device)
        with torch.cuda.device_of(padded):  # where Triton starts its kernels
            out = self._answered(padded, step, classes)
        answer = out[:, : self.channels, :height, :width]
        answer = answer.to(x_t.dtype, memory_format=torch.contiguous_format)
        return self.diffusion.clean(seen.to(x_t.dtype), answer, t)

    def _answered(self, x: Tensor, step: Tensor, classes: Tensor | None) -> Tensor:
        """What the network says of x, guided by its classes."""
        layout, count = layout_for(self.net), len(x)
        none = None if self.null_label is None else torch.full_like(step, self.null_label)
        if self.evaluations == 1 or classes is None or none is None:
            label = none if self.cfg == 0 else classes
            answer: Tensor = self.net(x.contiguous(memory_format=layout), step, label)
            return answer
        twice = torch.cat([x, x]).contiguous(memory_format=layout)
        both = torch.cat([classes.expand(count), none.expand(count)])
        with_class, without = self.net(twice, step, both).float().chunk(2)
        guided: Tensor = torch.lerp(without, with_class, self.cfg)
        return guided


def pad_to_multiple(x: Tensor, multiple: int, at_least: int = 0) -> Tensor:
    """Extend (B, C, H, W) at the bottom and right, by reflection as far as that goes."""
    height, width = x.shape[-2:]
    down, right = (max(at_least, side + -side % multiple) - side for side in (height, width))
    # Reflection needs more pixels than it adds; a tiny image repeats its border instead.
    mode = "reflect" if right < width and down < height else "replicate"
    return F.pad(x, (0, right, 0, down), mode) if down or right else x
