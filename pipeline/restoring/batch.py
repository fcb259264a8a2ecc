"""Problems that are restored together, as one batch of tensors."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch

from diffpir.config import SamplerConfig
from diffpir.noise_model import NoiseModel
from diffpir.randomness import sample_seed
from diffpir.sampling import NoiseLevel
from pipeline.restoring.problem import Problem, operator_of


class Batch:
    """Problems of one shape, as tensors on the device; ``samples`` of each, next to each other."""

    def __init__(self, problems: list[Problem], device: torch.device, samples: Sequence[int]):
        problems = [problem for problem in problems for _ in samples]
        self.problems = problems
        self.y = torch.cat([p.y for p in problems]).to(device)
        self.operator = operator_of(problems, device)
        self.noise = _together([p.noise for p in problems], device)
        self.seeds = [
            sample_seed(p.seed, k) for p, k in zip(problems, itertools.cycle(samples), strict=False)
        ]
        channels, height, width = self.operator.initial(self.y).shape[1:]
        self.shape = channels, height, width  # of a scene
        # Of each watched problem its first sample, by its place in the batch.
        self.watched: dict[int, dict[str, np.ndarray]] = {
            i: {}
            for i, (problem, k) in enumerate(zip(problems, itertools.cycle(samples), strict=False))
            if problem.watched and k == 0
        }

    def noise_for(self, config: SamplerConfig) -> NoiseLevel:
        """The noise as the sampler's method takes it.

        The noise of a grey measurement is the same in its three channels. Their sum, one of the
        channels that the spectral method works on, then has sqrt(3) times the noise that it has
        where channels are independent.
        """
        if config.method != "diffpir-spectral":
            return self.noise
        times = self.y.shape[1] ** 0.5
        noises = [_scaled(p.noise, times) if p.grey else p.noise for p in self.problems]
        return _together(noises, self.y.device)


def _scaled(noise: float | NoiseModel, times: float) -> float | NoiseModel:
    """Noise of so many times the standard deviation."""
    if isinstance(noise, float):
        return noise * times
    return NoiseModel(noise.gaussian * times, noise.poisson * times**2)


def _together(noises: Sequence[float | NoiseModel], device: torch.device) -> NoiseLevel:
    """The noise of images that share a batch: one level, one of each, or a model."""
    models = [noise for noise in noises if isinstance(noise, NoiseModel)]
    if models:
        return NoiseModel.together(models)
    levels = [noise for noise in noises if isinstance(noise, float)]
    if len(set(levels)) == 1:
        return levels[0]
    return torch.tensor(levels, dtype=torch.float64, device=device)
