"""From problems to restored images: sampling, one or several draws of each, and scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor

from diffpir import metrics
from diffpir.config import SamplerConfig
from diffpir.operators import Compressed, Interval, Operator, luminance
from diffpir.posterior import Posterior
from diffpir.randomness import noise_stream
from diffpir.sampler import sample
from diffpir.sampling import Sampling, Step, together
from diffpir.schedule import Schedule
from diffpir.spectrum import PriorSpectrum
from diffpir.tiling import Tiled
from pipeline.job_warnings import residual_warning
from pipeline.pictures.values import Values
from pipeline.restoring.batch import Batch
from pipeline.restoring.perceptual import PerceptualMetrics
from pipeline.restoring.problem import Problem, guess_of, start_of
from pipeline.restoring.scores import error_bars, scores_of
from pipeline.restoring.tone import softened
from pipeline.spec.job import JobSpec


@dataclass
class Restored:
    """What became of a problem.

    Attributes:
        outcome: columns of the result.
        picture: (H, W) or (H, W, C), as it is stored; None if there is none.
        error: and its kind; empty if there is none.
        uncertainty: (H, W) uint16, the standard deviation at each pixel as several samples tell it
            (:attr:`diffpir.posterior.Posterior.std`, times the job's ``uncertainty_scale``), 65535
            being 1; None if it was not asked for.
        samples: (K, H, W) or (K, H, W, C), if they were asked for.
        steps: of a watched problem, x0 at some steps by its name (:func:`step_name`), as it would
            be stored.
    """

    outcome: dict = field(default_factory=dict)
    picture: np.ndarray | None = None
    error: tuple[str, str] = ("", "")
    uncertainty: np.ndarray | None = None
    samples: np.ndarray | None = None
    steps: dict[str, np.ndarray] = field(default_factory=dict)


def step_name(t: int, after_data: bool) -> str:
    """What x0 at a timestep is called, before or after the data step."""
    return f"t{t:03d}-{'data' if after_data else 'denoised'}"


class ImageSampler:
    """Draws images from the posterior of problems, and scores what it drew.

    Args:
        spec: of the job.
        denoise: the prior.
        schedule: its own.
        config: the sampler's settings.
        spectrum: of the prior's error, if it has one.
        perceptual: perceptual networks.
        device: of tensors.
        on_step: told of how many images x0 was evaluated once more.
    """

    def __init__(
        self,
        spec: JobSpec,
        denoise: Tiled,
        schedule: Schedule,
        config: SamplerConfig,
        spectrum: PriorSpectrum | None,
        perceptual: PerceptualMetrics,
        device: torch.device,
        on_step: Callable[[int], None] = lambda size: None,
    ):
        self.spec, self.denoise, self.schedule, self.config = spec, denoise, schedule, config
        self.spectrum, self.perceptual, self.device = spectrum, perceptual, device
        self.on_step = on_step
        self.values = Values.of(spec)
        self.uncertainty_scale = spec.uncertainty_scale_of(config)

    def restored(self, groups: list[list[Problem]]) -> list[list[Restored]]:
        """Of each group of problems of one shape what becomes of them."""
        batches = [Batch(group, self.device, range(1)) for group in groups]
        if self.spec.samples == 1:
            scenes = self._draw(batches)
            return [
                self._finish(batch, x, batch.watched)
                for batch, x in zip(batches, scenes, strict=True)
            ]
        posteriors = [[Posterior(self.spec.estimate_of) for _ in group] for group in groups]
        kept: list[list[list[np.ndarray]]] = [[[] for _ in group] for group in groups]
        watched: list[dict[int, dict[str, np.ndarray]]] = [{} for _ in groups]
        for samples in self._chunks(groups):
            drawn = [Batch(group, self.device, samples) for group in groups]
            for g, (batch, x) in enumerate(zip(drawn, self._draw(drawn), strict=True)):
                watched[g] |= {i // len(samples): steps for i, steps in batch.watched.items()}
                x = x.clamp(0, 1)  # as it would be stored
                residuals = metrics.residual(x, batch.operator, batch.y, batch.noise).tolist()
                drawn_of = zip(batch.problems, x, residuals, strict=True)
                for place, (problem, one, residual) in enumerate(drawn_of):
                    member = place // len(samples)
                    posteriors[g][member].add(one, residual)
                    if self.spec.keep_samples:
                        kept[g][member].append(self._stored(one, batch.operator, problem))
        return [
            self._finish(
                batch, torch.stack([p.image for p in posterior]), steps, posterior, samples
            )
            for batch, steps, posterior, samples in zip(
                batches, watched, posteriors, kept, strict=True
            )
        ]

    def _chunks(self, groups: list[list[Problem]]) -> Iterator[range]:
        """The samples, as many at a time as fit."""
        pixels = sum(problem.pixels for group in groups for problem in group)
        at_once = max(1, self.denoise.batch_pixels // pixels)
        for start in range(0, self.spec.samples, at_once):
            yield range(start, min(start + at_once, self.spec.samples))

    def _draw(self, batches: list[Batch]) -> list[Tensor]:
        """Scenes (B, C, H, W) on [0, 1] of each batch."""
        # All of a job's problems have a label, or none has.
        labels = [[p.label for p in batch.problems if p.label is not None] for batch in batches]
        denoise = partial(self._denoised, labels=labels if any(labels) else None)
        scenes = together(denoise, [self._sampling(batch) for batch in batches])
        for batch, x in zip(batches, scenes, strict=True):
            for i, problem in enumerate(batch.problems):
                if problem.grey:  # the prior saw three equal channels and answered with three
                    x[i] = x[i].mean(dim=0)
        return scenes

    def _denoised(
        self, states: Sequence[Tensor], t: int, labels: list[list[int]] | None
    ) -> list[Tensor]:
        answers = self.denoise(states, t, labels)
        self.on_step(sum(map(len, states)))
        return answers

    def _sampling(self, batch: Batch) -> Sampling:
        config = self.config.scaled(batch.problems[0].scale, self.schedule)
        return sample(
            batch.operator,
            batch.y,
            schedule=self.schedule,
            config=config,
            noise_level=batch.noise_for(config),
            noise=noise_stream(batch.seeds, batch.shape, self.device),
            guess=start_of(batch.problems, batch.operator, batch.y, config),
            spectrum=self.spectrum,
            callback=self._watcher(batch, config) if batch.watched else None,
        )

    def _watcher(self, batch: Batch, config: SamplerConfig) -> Callable[[Step], None]:
        """Keeps x0 of the batch's watched problems, at moments evenly spread over the timesteps."""
        timesteps = config.timesteps(self.schedule)
        count = min(self.spec.sampler.save_steps or 0, len(timesteps))
        moments = {
            timesteps[i] for i in np.linspace(0, len(timesteps) - 1, count).round().astype(int)
        }

        def watch(step: Step) -> None:
            if step.t not in moments:
                return
            for i, steps in batch.watched.items():
                for x0, after_data in ((step.x0_denoised, False), (step.x0_data, True)):
                    if x0 is not None:
                        scene = (x0[i] + 1) / 2
                        steps[step_name(step.t, after_data)] = self._stored(
                            scene, batch.operator, batch.problems[i]
                        )

        return watch

    def _finish(
        self,
        batch: Batch,
        x: Tensor,
        watched: Mapping[int, dict[str, np.ndarray]],
        posteriors: Sequence[Posterior] = (),
        samples: Sequence[list[np.ndarray]] = (),
    ) -> list[Restored]:
        """Pixels and scores of the scenes (B, C, H, W) of a batch."""
        drawn = torch.stack([p.mean for p in posteriors]) if posteriors else x
        finite = drawn.isfinite().flatten(1).all(dim=1).tolist()
        # What is stored has 8 or 16 bits, so that is what is scored.
        exact = x.clamp(0, 1)
        x = self.values.rounded(exact)
        # Rounding may leave an interval, which says nothing of what was restored.
        bounded = isinstance(batch.operator, Interval | Compressed)
        judged = exact if bounded else x
        residual = metrics.residual(judged, batch.operator, batch.y, batch.noise).tolist()

        results: list[Restored] = []
        for i, problem in enumerate(batch.problems):
            if not finite[i]:
                results.append(Restored(error=("the model's output is not finite", "not_finite")))
                continue
            picture = self._stored(exact[i], batch.operator, problem)
            shown = self._shown(exact[i], batch.operator, problem)
            results.append(
                Restored(
                    outcome={
                        "width": picture.shape[1],
                        "height": picture.shape[0],
                        "residual": residual[i],
                        "warning": None
                        if bounded
                        else residual_warning(residual[i], problem.noise_level),
                        "noise_level": problem.noise_level,
                        "ceiling": problem.peak if self.spec.picture.range == "scene" else None,
                        **problem.outcome,
                        **scores_of(
                            problem, problem.peak * self.values.rounded(shown), self.perceptual
                        ),
                    },
                    picture=picture,
                    samples=np.stack(samples[i]) if samples and samples[i] else None,
                    steps=watched.get(i, {}),
                )
            )
            if posteriors and self.spec.uncertainty:
                outcome, results[-1].uncertainty = error_bars(
                    problem, batch.operator, posteriors[i], self.uncertainty_scale
                )
                results[-1].outcome |= outcome
        return results

    def _stored(self, x: Tensor, operator: Operator, problem: Problem) -> np.ndarray:
        """(H, W) or (H, W, C) as it is stored, of a scene (C, H, W) on [0, 1]."""
        shown = self._shown(x, operator, problem)
        if problem.peak > 1 and self.spec.picture.range == "display":
            shown = softened(problem.peak * shown, problem.peak)
        picture = self.values.stored(shown[0].permute(1, 2, 0).cpu().numpy())
        channels = problem.channels or picture.shape[2]
        if channels == 1:
            return picture[:, :, 0]
        return picture if channels == picture.shape[2] else np.repeat(picture, channels, axis=2)

    def _shown(self, x: Tensor, operator: Operator, problem: Problem) -> Tensor:
        """(1, C, H, W) on [0, 1]: what a scene (C, H, W) shows."""
        x = x[None]
        if problem.colours is not None:
            colours = guess_of([problem], operator, problem.colours.to(x.device))
            x = colours + (x - luminance(device=x.device).forward(colours))
        return operator.frame(x).clamp(0, 1)
