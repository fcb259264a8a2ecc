"""The actor that holds a loaded model and runs the sampler on batches of rows."""

from __future__ import annotations

import dataclasses
import math
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from diffpir import metrics
from diffpir.networks.checkpoint import load_model
from diffpir.networks.denoiser import EpsDenoiser
from diffpir.networks.precision import has_bf16
from diffpir.randomness import noise_stream
from diffpir.sampler import restore
from diffpir.schedule import Schedule
from diffpir.tiling import Tiled
from pipeline.arrays import pack, unpack
from pipeline.assets import Assets
from pipeline.checkpoint import local_file
from pipeline.errors import RowError
from pipeline.memory import (
    is_device_fault,
    is_out_of_memory,
    peak_device_memory,
    peak_memory,
)
from pipeline.problem import Inputs, Problem, baseline_of, build_problem, operator_of, own
from pipeline.schema import DEVICE_PEAK, OUTCOME, PEAK
from pipeline.spec import JobSpec
from pipeline.steps import FILES, errors_of, known_columns, with_errors
from pipeline.timed import Timed

MAX_BATCH_PIXELS = 2**22  # of restored images in one network call: 64 of 256 x 256


class Restorer:
    """Decoded rows -> restored pixels and metrics. Loads the model once.

    Args:
        spec: of the job.
        assets: its files.
        model: ``builtin``, or the checkpoint's path or URI, and the digest that results name it by.
        batch: images per network call at most.
        threads: of the CPU that this actor may use; None leaves PyTorch's own choice.
        gpu: whether this actor has a share of a GPU. Without one it computes on the CPU, on a
            machine with GPUs too: Ray does not hide them from actors that asked for none.
        on_batch: told the size of each batch, and the seconds that the network took for it.
    """

    def __init__(
        self,
        spec: JobSpec,
        assets: Assets,
        model: tuple[str, str],
        batch: int,
        threads: int | None = None,
        gpu: bool = False,
        on_batch: Callable[[int, float], None] = lambda size, seconds: None,
    ):
        if threads:
            torch.set_num_threads(threads)
        path, self.digest = model
        self.spec, self.assets, self.batch = spec, assets, batch
        self.device = torch.device("cuda" if gpu and torch.cuda.is_available() else "cpu")
        options = spec.model.model_dump(exclude={"path", "label"})
        net = load_model(local_file(path), **options)
        wanted = spec.precision
        bf16 = wanted == "bf16" or (wanted == "auto" and has_bf16(self.device.type))
        layout = torch.channels_last if bf16 else torch.contiguous_format
        net = net.to(self.device, memory_format=layout)
        self.schedule = Schedule.linear()
        self.config = spec.sampler_config
        self.pixel_type = np.dtype(f"u{spec.picture.bits // 8}")
        self.fitting: dict[tuple, int] = {}  # shape -> images that the memory has room for
        self.network = Timed(EpsDenoiser(net, self.schedule, spec.model.label, bf16))
        stride = net.config.stride
        self.denoise = Tiled(self.network, spec.tile, batch=batch, stride=stride)
        self.on_batch = on_batch

    def __call__(self, table: pa.Table) -> pa.Table:
        rows, errors = known_columns(table["row"]), errors_of(table)
        columns = (unpack(table[name]) for name in FILES)
        inputs = [dict(zip(FILES, arrays, strict=True)) for arrays in zip(*columns, strict=True)]
        outcomes: list[dict] = [{} for _ in rows]
        pixels: list[np.ndarray | None] = [None] * len(rows)

        groups: dict[tuple, list[tuple[int, Problem]]] = defaultdict(list)
        for i, row in enumerate(rows):
            if not errors[i][0]:
                try:
                    problem = build_problem(row, Inputs(**inputs[i]), self.spec, self.assets)
                    groups[problem.shape_key].append((i, problem))
                except RowError as e:
                    errors[i] = str(e), e.kind
                except Exception as e:
                    errors[i] = failure("cannot be posed as a problem", e)
        for members in groups.values():
            for chunk in self._batches(members):
                restored = self._restore_or_halve([problem for _, problem in chunk])
                for (i, _), (outcome, picture, error) in zip(chunk, restored, strict=True):
                    outcomes[i], pixels[i], errors[i] = outcome, picture, error

        constant = {
            "task": self.spec.task.kind,
            "sampler": dataclasses.asdict(self.config),
            "model": self.digest,
        }
        outcomes = [
            {**outcome, **constant, "seed": own(row, "seed", self.spec.seed)}
            for row, outcome in zip(rows, outcomes, strict=True)
        ]
        done = table.drop_columns(list(FILES))
        done = done.append_column("outcome", pa.array(outcomes, pa.struct(OUTCOME)))
        done = done.append_column("pixels", pack(pixels))
        for name, peak in ((PEAK, peak_memory()), (DEVICE_PEAK, peak_device_memory())):
            done = done.append_column(name, pa.repeat(peak, len(rows)))
        return with_errors(done, errors)

    def _batches(self, members: list):
        problem = members[0][1]
        fitting = self.fitting.get(problem.shape_key, self.batch)
        largest = min(fitting, MAX_BATCH_PIXELS // problem.pixels)
        size = max(1, largest)
        for start in range(0, len(members), size):
            yield members[start : start + size]

    def _restore_or_halve(self, problems: list[Problem]) -> list:
        """As ``_restore``; a batch that fails, for want of memory say, is tried in halves."""
        try:
            return self._restore(problems)
        except Exception as e:
            if is_device_fault(e):
                # The process can use its GPU no more, whatever it is given: it must go, and be
                # made anew. What the rows of this batch did is noted as the death of a process.
                print(f"restorer: {e}", file=sys.stderr, flush=True)
                os._exit(1)
            short = is_out_of_memory(e)
            if len(problems) == 1 and not (short and self.denoise.batch > 1):
                return [({}, None, failure("cannot be restored", e))]
        # The exception is gone here, and with it the frames that held the batch's memory.
        if len(problems) == 1:
            self.denoise.batch //= 2  # tiles of this image, in one call
            return self._restore_or_halve(problems)
        half = len(problems) // 2
        if short:
            self.fitting[problems[0].shape_key] = half
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
        return self._restore_or_halve(problems[:half]) + self._restore_or_halve(problems[half:])

    def _restore(
        self, problems: list[Problem]
    ) -> list[tuple[dict, np.ndarray | None, tuple[str, str]]]:
        """Restore problems of one shape: for each its outcome, its picture and its error."""
        began = time.perf_counter()
        y = torch.cat([p.y for p in problems]).to(self.device)
        operator = operator_of(problems, self.device)
        sigma = torch.tensor([p.noise_level for p in problems], device=self.device)
        shape = tuple(operator.initial(y).shape[1:])
        with torch.inference_mode():
            x = restore(
                self.denoise,
                operator,
                y,
                schedule=self.schedule,
                config=self.config,
                noise_level=sigma,
                noise=noise_stream([p.seed for p in problems], shape, self.device),
            )
            finite = x.isfinite().flatten(1).all(dim=1).tolist()
            for i, problem in enumerate(problems):
                if problem.grey:  # the prior saw three equal channels and answered with three
                    x[i] = x[i].mean(dim=0)
            # What is stored has 8 or 16 bits, so that is what is scored.
            most = np.iinfo(self.pixel_type).max
            rounded = (x.clamp(0, 1) * most).round()
            x = rounded / most
            residual = metrics.residual(x, operator, y, sigma).tolist()
            x, shown = operator.frame(x), operator.frame(rounded)
        seconds = (time.perf_counter() - began) / len(problems)
        self.on_batch(len(problems), self.network.taken())

        results = []
        for i, problem in enumerate(problems):
            if not finite[i]:
                error = ("the model's output is not finite", "not_finite")
                results.append(({}, None, error))
                continue
            picture = shown[i].permute(1, 2, 0).cpu().numpy().astype(self.pixel_type)
            if problem.grey:
                picture = picture[:, :, 0]
            outcome = {
                "width": picture.shape[1],
                "height": picture.shape[0],
                "residual": residual[i],
                "noise_level": problem.noise_level,
                "kernel_estimate": problem.kernel_estimate
                and problem.kernel_estimate.model_dump_json(exclude_none=True),
                "seconds": seconds,
                **self._scores(problem, x[i : i + 1].cpu()),
            }
            results.append((outcome, picture, ("", "")))
        return results

    @staticmethod
    def _scores(problem: Problem, x: Tensor) -> dict:
        if problem.reference is None:
            return {}
        baseline = baseline_of(problem).clamp(0, 1)
        ssim = metrics.ssim(x, problem.reference).item()
        return {
            "psnr": metrics.psnr(x, problem.reference).item(),
            "psnr_y": metrics.psnr_y(x, problem.reference).item(),
            "ssim": None if math.isnan(ssim) else ssim,
            "baseline_psnr": metrics.psnr(baseline, problem.reference).item(),
        }


def failure(what: str, error: Exception) -> tuple[str, str]:
    """A row's error and its kind, from an exception that nobody foresaw."""
    kind = "out_of_memory" if is_out_of_memory(error) else "failed"
    return f"{what} ({type(error).__name__}: {error})", kind
