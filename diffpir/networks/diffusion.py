"""The diffusion that a network was trained in: its noise levels, and what it predicts."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, get_args

from torch import Tensor

from diffpir.errors import ConfigError
from diffpir.schedule import STEPS, Schedule

Steps = TypeVar("Steps", int, Tensor)
Prediction = Literal["epsilon", "v", "x0"]


@dataclass(frozen=True, kw_only=True)
class Diffusion:
    """How a network is asked, and how its answer is read.

    Attributes:
        schedule: of the noise that it was trained with.
        prediction: ``epsilon``, the noise; ``v`` (Salimans & Ho 2022); ``x0``, the image itself.
        rescale_timesteps: it was told ``1000 t / T`` rather than t (OpenAI's option of this name).
    """

    schedule: Schedule = field(default_factory=Schedule.linear)
    prediction: Prediction = "epsilon"
    rescale_timesteps: bool = False

    def __post_init__(self) -> None:
        if self.prediction not in get_args(Prediction):
            known = ", ".join(get_args(Prediction))
            raise ConfigError(f"prediction must be one of {known}, got {self.prediction!r}")

    def told(self, t: Steps) -> Steps | float:
        """What the network is told of a timestep, or of several."""
        return t * STEPS / len(self.schedule) if self.rescale_timesteps else t

    def clean(self, x_t: Tensor, answer: Tensor, t: int) -> Tensor:
        """x0 as the network's answer to ``x_t`` has it.

        epsilon: ``(x_t - sqrt(1 - abar_t) eps) / sqrt(abar_t)`` (Ho et al. 2020, eq. 15);
        v: ``sqrt(abar_t) x_t - sqrt(1 - abar_t) v``.
        """
        alpha_bar = float(self.schedule.alpha_bar[t])
        if self.prediction == "x0":
            return answer
        if self.prediction == "v":
            x0: Tensor = alpha_bar**0.5 * x_t - (1 - alpha_bar) ** 0.5 * answer
        else:
            x0 = (x_t - (1 - alpha_bar) ** 0.5 * answer) / alpha_bar**0.5
        return x0

    @property
    def plain(self) -> dict[str, Any]:
        """Plain values, as JSON takes them."""
        return {
            "schedule": self.schedule.plain,
            "prediction": self.prediction,
            "rescale_timesteps": self.rescale_timesteps,
        }

    @property
    def identity(self) -> dict[str, Any]:
        """As :attr:`plain`; of a table of noise levels its digest alone."""
        plain = self.plain
        if self.schedule.kind == "table":
            digest = hashlib.sha256(self.schedule.alpha_bar.tobytes()).hexdigest()
            plain["schedule"] = {"alphas_cumprod_sha256": digest}
        return plain

    @classmethod
    def from_plain(cls, plain: Any) -> Diffusion:
        """From what :attr:`plain` is.

        Raises:
            ConfigError: it is none.
        """
        if not isinstance(plain, dict) or plain.keys() != cls.__annotations__.keys():
            raise ConfigError(f"expected the fields {', '.join(cls.__annotations__)}")
        return cls(**plain | {"schedule": Schedule.from_plain(plain["schedule"])})
