"""What all samplers have in common: how they ask for x0, what they tell, and their noise levels."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffpir.noise_model import NoiseModel

Denoiser = Callable[[Tensor, int], Tensor]  # (x_t, t) -> x0, both on [-1, 1]
# Yields (x_t, t), is sent its x0, and so on; returns the restored images.
Sampling = Generator[tuple[Tensor, int], Tensor, Tensor]

NoiseLevel = float | Tensor | NoiseModel
SIGMA_FLOOR = 0.001  # of sigma_n in rho, the authors' own: the data are never trusted beyond it


@dataclass(frozen=True)
class Step:
    """One step of the sampler, as a callback sees it.

    Attributes:
        t: the timestep.
        x0_denoised: (B, C, H, W) on [-1, 1], what the network answered.
        x0_data: the same after the data step; None at the last timestep, which only denoises.
        x_next: the state of the next timestep; None at the last one.
    """

    t: int
    x0_denoised: Tensor
    x0_data: Tensor | None = None
    x_next: Tensor | None = None


def noise_levels(noise_level: float | Tensor, y: Tensor) -> Tensor:
    """sigma_n as a float64 tensor on y's device, () or (B,); given so, or as (B, 1, 1, 1).

    Raises:
        ValueError: negative, not finite, or not one per image.
    """
    given = torch.as_tensor(noise_level, dtype=torch.float64)
    if given.ndim == 4 and given.shape[1:] == (1, 1, 1):  # as it stands beside images
        given = given.flatten()
    if given.ndim > 1 or (given.ndim == 1 and len(given) not in (1, len(y))):
        raise ValueError(f"noise_level has shape {tuple(given.shape)}, y has {len(y)} images")
    if not ((given >= 0) & given.isfinite()).all():
        raise ValueError(f"noise_level must be 0 or more, got {noise_level}")
    return given.to(y.device)


def enough(noise: Iterable[Tensor]) -> Iterator[Tensor]:
    """The draws, and an error in words after the last."""
    yield from noise
    raise ValueError("noise has fewer draws than the sampler needs: one for the start, one a step")


def together(
    denoise: Callable[[list[Tensor], int], Iterable[Tensor]], samplings: Sequence[Sampling]
) -> list[Tensor]:
    """Run several samplings in step, so that they share calls of the network.

    The samplings may be of images of different sizes, but must visit the same timesteps.

    Args:
        denoise: is given the states x_t of all samplings and t, and gives x0 of each.
        samplings: of :func:`sample`.

    Returns:
        What each sampling returns: (B, C, H, W) on [0, 1].
    """
    asked = [next(sampling) for sampling in samplings]
    restored: list[Tensor] = []
    while not restored:
        (t,) = {t for _, t in asked}
        answers = denoise([x_t for x_t, _ in asked], t)
        asked = []
        for sampling, x0 in zip(samplings, answers, strict=True):
            try:
                asked.append(sampling.send(x0))
            except StopIteration as end:
                restored.append(end.value)
    return restored
