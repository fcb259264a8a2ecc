"""Priors of the user's own code: any network, and the diffusion that it was trained in."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from diffpir.errors import ConfigError
from diffpir.networks.diffusion import Prediction
from diffpir.schedule import Schedule

MOST = 4096  # of channels, and of the pixels that sides are multiples of


@dataclass(frozen=True, kw_only=True)
class CustomPrior:
    """A prior that a user's own code makes: what a job's ``model: {factory: ...}`` must return.

    Images are float32 on [-1, 1], (B, C, H, W); those of a batch must be treated apart, and the
    same input must have the same answer.

    Attributes:
        network: ``(x_t, t) -> x0`` for the state ``x_t = sqrt(alpha_bar_t) x0 +
            sqrt(1 - alpha_bar_t) z``, with t an int, a place in ``schedule``. With a ``prediction``
            instead ``(x_t, t) -> answer`` with t (B,) int64. A ``torch.nn.Module`` is moved to the
            job's device, put in evaluation mode, and known by its weights; another object cares for
            its device itself.
        schedule: of the noise levels; the sampler takes its timesteps from it.
        prediction: what ``network`` answers, where that is not x0 by the first of these forms. It
            may have 2 C channels, of which the first C count.
        channels: C, of images.
        multiple: of which height and width of an image must be; the images are padded.
        classes: labels that ``network`` takes as its third argument, (B,) int64; 0 for none.

    Raises:
        ConfigError: a value is none of its kind.

    Examples:
        >>> import torch
        >>> from diffpir import CustomPrior, Schedule
        >>> from diffpir.checkpoints.prior import custom_prior
        >>> schedule = Schedule.linear()
        >>> def network(x_t, t):  # the best guess where every pixel is N(0, 0.25) by itself
        ...     sigma = schedule.sigma_bar[t]
        ...     return x_t / schedule.alpha_bar[t] ** 0.5 * 0.25 / (0.25 + sigma**2)
        >>> denoise = custom_prior(CustomPrior(network=network, schedule=schedule)).denoiser()
        >>> denoise(torch.zeros(1, 3, 16, 16), 500).shape
        torch.Size([1, 3, 16, 16])
    """

    network: Callable[..., Tensor]
    schedule: Schedule
    prediction: Prediction | None = None
    channels: int = 3
    multiple: int = 1
    classes: int = 0

    def __post_init__(self) -> None:
        if not callable(self.network):
            raise ConfigError(
                f"network must be (x_t, t) -> x0 or a torch.nn.Module, got "
                f"{type(self.network).__name__}"
            )
        if not isinstance(self.schedule, Schedule):
            raise ConfigError(
                f"schedule must be a diffpir.Schedule, such as Schedule.of('cosine') or "
                f"Schedule.of_table(betas), got {type(self.schedule).__name__}"
            )
        if self.prediction not in (None, "epsilon", "v", "x0"):
            raise ConfigError(
                f"prediction must be epsilon, v, x0, or None for a network (x_t, t) -> x0 whose t "
                f"is an int; got {self.prediction!r}"
            )
        for name, least in (("channels", 1), ("multiple", 1), ("classes", 0)):
            value = getattr(self, name)
            if type(value) is not int or not least <= value <= (10**6 if not least else MOST):
                raise ConfigError(f"{name} must be a whole number from {least}, got {value!r}")


@dataclass(frozen=True)
class CustomConfig:
    """Of a user's network what the rest of the project asks of any (:class:`UNetConfig`)."""

    in_channels: int
    out_channels: int
    stride: int
    num_classes: int


class CustomNet(nn.Module):
    """A user's network, called as our own: ``forward(x, t, label=None)``.

    Attributes:
        autocast: type that it computes in, where that is not the float32 of its images.
        takes_int: it is given one timestep for all images, as an int.
    """

    fused = False
    dtype = torch.float32

    def __init__(self, prior: CustomPrior):
        super().__init__()
        self.config = CustomConfig(prior.channels, prior.channels, prior.multiple, prior.classes)
        self.network = prior.network
        self.takes_int = prior.prediction is None
        self.autocast: torch.dtype | None = None
        self.place: Tensor
        self.register_buffer("place", torch.zeros(()), persistent=False)  # follows to a device
        self.requires_grad_(False).eval()

    @property
    def device(self) -> torch.device:
        return self.place.device

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return getattr(self.network, "__name__", type(self.network).__name__)

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        """(B, C, H, W), as :class:`UNet` has it: ``t`` and ``label`` are (B,), or (1,) for all.

        Raises:
            ConfigError: the user's network returns what it must not.
        """
        given = [] if label is None else [label.expand(len(x))]
        with torch.autocast(x.device.type, self.autocast, enabled=self.autocast is not None):
            if not self.takes_int:
                return self._checked(self.network(x, t.long().expand(len(x)), *given), x)
            steps = [int(step) for step in t.tolist()]
            if len(steps) == 1:
                return self._checked(self.network(x, steps[0], *given), x)
            parts = [
                self._checked(self.network(x[i : i + 1], step, *(y[i : i + 1] for y in given)), x)
                for i, step in enumerate(steps)
            ]
        return torch.cat(parts)

    def _checked(self, answer: Any, x: Tensor) -> Tensor:
        if not isinstance(answer, Tensor):
            raise ConfigError(
                f"{self.name} returned {type(answer).__name__}, expected a tensor (of an object "
                "that holds it, return the tensor alone)"
            )
        channels = x.shape[1]
        fits = answer.ndim == 4 and answer.shape[1] in (channels, 2 * channels)
        if not fits or answer.shape[2:] != x.shape[2:] or not answer.is_floating_point():
            raise ConfigError(
                f"{self.name} returned {str(answer.dtype).removeprefix('torch.')} of the shape "
                f"{tuple(answer.shape)} for images of the shape {tuple(x.shape)}, expected "
                "floating-point numbers of the same shape"
            )
        return answer[:, :channels].float()


def state_digest(net: nn.Module) -> str:
    """SHA-256 of a network's weights and buffers with their names, in hex."""
    digest = hashlib.sha256()
    for name, value in sorted(net.state_dict().items()):
        if not isinstance(value, Tensor):  # what a module keeps beside them
            digest.update(f"{name} {value!r}\n".encode())
            continue
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        plain = value.detach().cpu().contiguous().reshape(-1)
        digest.update(plain.view(torch.uint8).numpy().data)
    return digest.hexdigest()
