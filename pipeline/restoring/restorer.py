"""The actor that holds a loaded model and runs the sampler on batches of rows."""

from __future__ import annotations

import math
import os
import platform
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import torch

from diffpir import metrics
from diffpir.networks.precision import compiled, device_of, dtype_of, place
from diffpir.tiling import Tiled
from manifests.secrets import redacted, texts_of
from pipeline.arrays import pack, unpack
from pipeline.errors import RowError
from pipeline.priors.prior import prior_of
from pipeline.restoring.image_sampler import ImageSampler, Restored
from pipeline.restoring.labels import Labels
from pipeline.restoring.memory import (
    is_device_fault,
    is_out_of_memory,
    peak_device_memory,
    peak_memory,
)
from pipeline.restoring.perceptual import PerceptualMetrics
from pipeline.restoring.problem import Problem, build_problem
from pipeline.restoring.timed import Timed
from pipeline.schema import ACTOR, DEVICE_PEAK, OUTCOME, PEAK
from pipeline.spec.job import JobSpec
from pipeline.steps.table import INPUTS, errors_of, known_columns, with_errors
from pipeline.tasks.assets import Assets
from pipeline.tasks.row import Inputs, own
from pipeline.users_code import code_digests
from pipeline.versions import Unchanged, Versions, check_digest

# On a GPU, sides are given to the network in so few sizes that images of a dataset share them.
GPU_MULTIPLE = 64


class Restorer:
    """Decoded rows -> restored pixels and metrics. Loads the model once.

    Args:
        spec: of the job.
        assets: its files.
        model: ``builtin``, or the checkpoint's path or URI.
        versions: of the run; this actor must have the same.
        batch_pixels: per network call at most, and of the images that are restored together.
        threads: of the CPU that this actor may use; None leaves PyTorch's own choice.
        gpu: whether this actor has a share of a GPU.
        on_batch: told how many images were restored together, and the seconds of the network.
        on_step: told of how many images x0 was evaluated once more.
    """

    def __init__(
        self,
        spec: JobSpec,
        assets: Assets,
        model: str,
        versions: Versions,
        batch_pixels: int,
        threads: int | None = None,
        gpu: bool = False,
        on_batch: Callable[[int, float], None] = lambda size, seconds: None,
        on_step: Callable[[int], None] = lambda size: None,
    ):
        self.spec, self.assets = spec, assets
        self.digest = versions.model
        for field, digest in code_digests(spec).items():
            check_digest(field, spec.code()[field], digest, versions.code[field])
        self.uris = list(texts_of(spec.model_dump()))
        self.name = f"{platform.node()}:{os.getpid()}"
        self.device = device_of(gpu)
        usual = torch.get_num_threads()
        # Ray calls from another thread than this. Threads that OpenMP had started for this one
        # would lie idle, and make it think that there are more than cores, and wait slowly.
        torch.set_num_threads(1)
        dtype = dtype_of(spec.precision, self.device)
        files = prior_of(spec.model, model)
        prior = files.load(dtype)
        net = place(prior.net, self.device, spec.precision, gradients=spec.takes_gradients)
        files.check(versions.model)
        self.unchanged = Unchanged("model", files.used) if files.used else None
        if spec.compile:
            compiled(net)
        self.schedule = prior.diffusion.schedule
        self.config = spec.sampler_config(spectral=prior.spectrum is not None)
        denoise = prior.denoiser(**spec.model.conditions)
        self.network = Timed(denoise)
        self.labels = Labels(denoise.classes, denoise.usual_label)
        multiple = net.config.stride
        if self.device.type == "cuda":
            multiple = math.lcm(multiple, GPU_MULTIPLE)
        self.channels = net.config.in_channels
        self.denoise = Tiled(
            self.network,
            spec.tile,
            batch_pixels=batch_pixels,
            multiple=multiple,
            apart=self.channels == 1,
            few_shapes=spec.compile,
            evaluations=denoise.evaluations,
        )
        self.perceptual = PerceptualMetrics(spec.perceptual, self.device)
        for key, location in spec.perceptual.weights.items():
            field = f"perceptual.{key}"
            check_digest(field, location, self.perceptual.digests[key], versions.perceptual[key])
        self.sampler = ImageSampler(
            spec,
            self.denoise,
            self.schedule,
            self.config,
            prior.spectrum,
            self.perceptual,
            self.device,
            on_step,
        )
        self.on_batch = on_batch
        torch.set_num_threads(threads or usual)

    def __call__(self, table: pa.Table) -> pa.Table:
        rows = known_columns(table["row"])
        columns = (unpack(table[name]) for name in INPUTS)
        inputs = [dict(zip(INPUTS, arrays, strict=True)) for arrays in zip(*columns, strict=True)]
        results = [Restored(error=error) for error in errors_of(table)]

        problems: list[tuple[int, Problem]] = []
        for i, row in enumerate(rows):
            if not results[i].error[0]:
                try:
                    files = Inputs(**inputs[i])
                    label = self.labels.of(row)
                    problem = build_problem(row, files, self.spec, self.assets, self.channels)
                    problems.append((i, replace(problem, label=label)))
                except RowError as e:
                    results[i].error = str(e), e.kind
                except Exception as e:
                    results[i].error = failure("cannot be posed as a problem", e)
        try:
            restored = self.restored([problem for _, problem in problems])
        except Exception as e:
            if is_device_fault(e):
                # The process can use its GPU no more, whatever it is given: it must go, and be
                # made anew. What the rows of this batch did is noted as the death of a process.
                print(f"restorer: {redacted(str(e), self.uris)}", file=sys.stderr, flush=True)
                os._exit(1)
            raise
        for (i, _), result in zip(problems, restored, strict=True):
            results[i] = result

        constant = {
            "task": self.spec.task.kind,
            "sampler": self.config.told(),
            "model": self.digest,
        }
        outcomes = [
            {**result.outcome, **constant, "seed": own(row, "seed", self.spec.seed)}
            for row, result in zip(rows, results, strict=True)
        ]
        done = table.drop_columns(list(INPUTS))
        done = done.append_column("outcome", pa.array(outcomes, pa.struct(OUTCOME)))
        for name, arrays in (
            ("pixels", [result.picture for result in results]),
            ("uncertainty_pixels", [result.uncertainty for result in results]),
            ("sample_pixels", [result.samples for result in results]),
            (
                "step_pixels",
                [np.stack(list(r.steps.values())) if r.steps else None for r in results],
            ),
        ):
            done = done.append_column(name, pack(arrays))
        names = pa.array([list(result.steps) for result in results], pa.list_(pa.string()))
        done = done.append_column("step_names", names)
        told = {PEAK: peak_memory(), DEVICE_PEAK: peak_device_memory(), ACTOR: self.name}
        for name, value in told.items():
            done = done.append_column(name, pa.repeat(value, len(rows)))
        return with_errors(done, [result.error for result in results], self.uris)

    def restored(self, problems: Sequence[Problem]) -> list[Restored]:
        """What becomes of each problem; those that fit together are restored together.

        Raises:
            PipelineError: the checkpoint was written over meanwhile.
            RuntimeError: the GPU cannot be used any more
                (:func:`pipeline.restoring.memory.is_device_fault`).
        """
        results = [Restored()] * len(problems)
        for batch in self._batches(list(enumerate(problems))):
            done = self._restore_or_halve([problem for _, problem in batch])
            for (i, _), result in zip(batch, done, strict=True):
                results[i] = result
        if self.unchanged:
            self.unchanged.check()
        return results

    def _batches(self, problems: list[tuple[int, Problem]]) -> Iterator[list[tuple[int, Problem]]]:
        """In parts of at most ``batch_pixels``, or of one problem; those of one shape together.

        Problems whose sampling goes through other noise levels are in parts of their own.
        """
        batch: list[tuple[int, Problem]] = []
        pixels = 0
        for i, problem in sorted(problems, key=lambda item: str(item[1].shape_key)):
            size = problem.pixels * self.spec.samples
            pixels += size
            other = bool(batch) and problem.noise_levels_key != batch[-1][1].noise_levels_key
            if batch and (other or pixels > self.denoise.batch_pixels):
                yield batch
                batch, pixels = [], size
            batch.append((i, problem))
        if batch:
            yield batch

    def _restore_or_halve(self, problems: list[Problem]) -> list[Restored]:
        """As ``_restore``; a batch that fails, for want of memory say, is tried in halves."""
        try:
            return self._restore(problems)
        except Exception as e:
            if is_device_fault(e):
                raise
            short = is_out_of_memory(e)
            # An image in tiles needs less when they are fewer in a call, and several samples do.
            smaller = short and self.denoise.batch_pixels > self.spec.tile**2
            pixels = sum(problem.pixels for problem in problems) * self.spec.samples
            if len(problems) == 1 and not (smaller and pixels > self.spec.tile**2):
                return [Restored(error=failure("cannot be restored", e))]
        # The exception is gone here, and with it the frames that held the batch's memory.
        if short:
            # Batches to come are no larger than what may fit.
            self.denoise.batch_pixels = min(self.denoise.batch_pixels, pixels) // 2
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
        if len(problems) == 1:
            return self._restore_or_halve(problems)
        half = len(problems) // 2
        return self._restore_or_halve(problems[:half]) + self._restore_or_halve(problems[half:])

    def _restore(self, problems: list[Problem]) -> list[Restored]:
        """Restore problems together; those of one shape are one batch of the data step."""
        if any(problem.reference is not None for problem in problems):
            metrics.load()
        began = time.perf_counter()
        groups: dict[tuple, list[int]] = defaultdict(list)
        for i, problem in enumerate(problems):
            groups[problem.shape_key].append(i)
        # Tensors of inference mode could not be differentiated by.
        gradients = self.spec.takes_gradients
        with torch.no_grad() if gradients else torch.inference_mode():
            finished = self.sampler.restored([[problems[i] for i in g] for g in groups.values()])
        seconds = time.perf_counter() - began
        self.on_batch(len(problems), self.network.taken())
        share = seconds / sum(problem.pixels for problem in problems)

        results = [Restored()] * len(problems)
        for members, done in zip(groups.values(), finished, strict=True):
            for i, result in zip(members, done, strict=True):
                if result.picture is not None:
                    result.outcome["seconds"] = share * problems[i].pixels
                results[i] = result
        return results


def failure(what: str, error: Exception) -> tuple[str, str]:
    """A row's error and its kind, from an exception that nobody foresaw."""
    kind = "out_of_memory" if is_out_of_memory(error) else "failed"
    return f"{what} ({type(error).__name__}: {error})", kind
