"""Whether a network denoises at all as it is asked to: a schedule that cannot be right shows.

A network that is told of another noise level than there is takes noise for the picture, or the
picture for noise. A smooth test picture shows that in one evaluation of a few small images.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor

from diffpir.networks.custom import CustomNet
from diffpir.networks.denoiser import EpsDenoiser, pad_to_multiple
from diffpir.networks.diffusion import Diffusion, Prediction
from diffpir.schedule import Schedule

SIDE = 64  # of the test picture, in pixels
SIGMAS = (0.1, 0.3, 1.0, 3.0)  # sigma_bar, noise on the [-1, 1] scale
DOUBTFUL = 0.1  # share of the error of a blind denoiser that asks for a closer look
GOOD = 0.3  # what another diffusion must leave at most, to be believed
FACTOR = 3.0  # how much less it must leave
WORSE = 2.0  # share of that error that a network with no other diffusion must not exceed
# What people train with: schedules as a job writes them.
USUAL: tuple[tuple[str, Schedule], ...] = (
    ("linear", Schedule.of("linear")),
    ("{kind: linear, steps: 4000}", Schedule.of("linear", steps=4000)),
    ("cosine", Schedule.of("cosine")),
    ("{kind: cosine, steps: 4000}", Schedule.of("cosine", steps=4000)),
    (
        "{kind: scaled_linear, beta_start: 0.00085, beta_end: 0.012}",
        Schedule.of("scaled_linear", beta_start=0.00085, beta_end=0.012),
    ),
    ("sigmoid", Schedule.of("sigmoid")),
)


@dataclass(frozen=True)
class Candidate:
    """A diffusion that a network may have been trained in, as a job would say it."""

    words: str
    diffusion: Diffusion

    def is_within(self, steps: int) -> bool:
        """Whether a network that knows so many timesteps can be asked."""
        return len(self.diffusion.schedule) <= steps and not self.diffusion.rescale_timesteps


def check_prior(denoise: EpsDenoiser) -> str | None:
    """A doubt in words, with numbers, where another diffusion explains the network far better.

    Costs one evaluation of four images of 64 x 64 pixels, and some ten times that where the
    picture is denoised badly. A user's ``(x_t, t) -> x0`` has no other diffusion, and is doubted
    where it does much worse than a blind denoiser.
    """
    left = denoising_error(denoise)
    if left <= DOUBTFUL:
        return None
    custom = isinstance(denoise.net, CustomNet)
    if isinstance(denoise.net, CustomNet) and denoise.net.takes_int:
        if left <= WORSE:
            return None
        return (
            f"{_kept(left)}, so it does not denoise; it is given x_t = sqrt(alpha_bar) x0 + "
            "sqrt(1 - alpha_bar) z, on [-1, 1], at place t of the schedule"
        )
    others = list(_others(denoise.diffusion))
    if custom:  # which may know no more timesteps than its own
        steps = len(denoise.schedule)
        others = [o for o in others if o.is_within(steps)]
    errors = denoising_errors(denoise, others)
    best = min(range(len(others)), key=errors.__getitem__)
    if errors[best] > GOOD or left < FACTOR * errors[best]:
        return None
    where = "in what the factory returns" if custom else "in the job's model"
    return (
        f"{_kept(left)}, which is far too much; with {others[best].words} it would be "
        f"{errors[best]:.2f}. If the network was trained so, say so {where}"
    )


def _kept(left: float) -> str:
    return (
        f"a smooth test picture with noise of {', '.join(map(str, SIGMAS))} keeps {left:.2f} of "
        "the error that a blind denoiser would leave"
    )


def denoising_error(denoise: EpsDenoiser) -> float:
    """What is left of a test picture's error (:func:`denoising_errors`), asked as it is."""
    return denoising_errors(denoise, [Candidate("", denoise.diffusion)])[0]


@torch.inference_mode()
def denoising_errors(denoise: EpsDenoiser, candidates: Sequence[Candidate]) -> list[float]:
    """What is left of a test picture's error, as each candidate asks the network and reads it.

    The geometric mean over :data:`SIGMAS` of the mean squared error of x0, over that of the best
    denoiser that knows the picture's variance alone; inf where it is not finite. Candidates that
    ask alike share the network's answers.
    """
    net = denoise.net
    picture = _picture(denoise.channels)
    variance = float(picture.var())
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn((len(SIGMAS), *picture.shape), generator=generator)
    answers: dict[tuple[float, ...], tuple[list[Tensor], Tensor]] = {}
    errors = []
    for candidate in candidates:
        diffusion = candidate.diffusion
        schedule = diffusion.schedule
        steps = [schedule.nearest(sigma) for sigma in SIGMAS]
        told = tuple(float(diffusion.told(t)) for t in steps)
        key = *told, *(float(schedule.alpha_bar[t]) for t in steps)
        if key not in answers:
            states = [schedule.diffuse(picture, t, z) for t, z in zip(steps, noise, strict=True)]
            x = torch.stack(states).to(net.device, net.dtype)
            label = None
            if denoise.classes:
                label = torch.full((len(steps),), denoise.usual_label or 0, device=net.device)
            x = pad_to_multiple(x, net.config.stride, at_least=2 * net.config.stride)
            out = net(x, torch.tensor(told, device=net.device), label).float().cpu()
            answers[key] = states, out[:, : denoise.channels, :SIDE, :SIDE]
        logs = 0.0
        states, out = answers[key]
        for t, x_t, answer in zip(steps, states, out, strict=True):
            x0 = diffusion.clean(x_t, answer, t)
            noise_power = float(schedule.sigma_bar[t]) ** 2
            blind = noise_power * variance / (noise_power + variance)
            error = float((x0 - picture).square().mean()) / blind
            logs += math.log(max(error, 1e-9)) if math.isfinite(error) else math.inf
        errors.append(math.exp(logs / len(steps)))
    return errors


def _others(used: Diffusion) -> Iterator[Candidate]:
    for words, schedule in (("the same schedule", used.schedule), *USUAL):
        said = words if schedule is used.schedule else f"schedule: {words}"
        for rescaled in (False, True):
            if rescaled and len(schedule) == 1000:
                continue
            for prediction in get_args(Prediction):
                diffusion = Diffusion(
                    schedule=schedule, prediction=prediction, rescale_timesteps=rescaled
                )
                changes = [said]
                if rescaled:
                    changes.append("rescale_timesteps: true")
                if prediction != used.prediction:
                    changes.append(f"prediction: {prediction}")
                yield Candidate(", ".join(changes), diffusion)


def _picture(channels: int) -> Tensor:
    """(channels, SIDE, SIDE) on [-1, 1]: smooth, and of its own course in each channel."""
    place = torch.linspace(0, 1, SIDE)
    y, x = torch.meshgrid(place, place, indexing="ij")
    waves = 0.6 * torch.sin(3 * x + 2 * y) + 0.3 * torch.cos(7 * y - 2 * x)
    shades = torch.arange(channels)[:, None, None] % 3
    picture: Tensor = waves * (0.9 - 0.1 * shades) + 0.1 * (shades - 1)
    return picture
