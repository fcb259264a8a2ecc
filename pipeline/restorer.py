"""The actor that holds a loaded model and runs the sampler on batches of rows."""

from __future__ import annotations

import dataclasses
import math
import time
from collections import defaultdict

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
from manifests import storage
from pipeline.arrays import pack, unpack
from pipeline.errors import RowError
from pipeline.problem import Assets, Inputs, Problem, baseline_of, build_problem, operator_of, own
from pipeline.schema import OUTCOME, SHARD
from pipeline.spec import JobSpec
from pipeline.steps import FILES, known_columns

MAX_BATCH_PIXELS = 2**22  # of restored images in one network call: 64 of 256 x 256


class Restorer:
    """Decoded rows -> restored pixels and metrics. Loads the model once.

    Args:
        spec: of the job.
        assets: its files.
        model: path or URI of the checkpoint, and the digest that results name it by.
        batch: images per network call at most.
        threads: of the CPU that this actor may use; None leaves PyTorch's own choice.
    """

    def __init__(
        self,
        spec: JobSpec,
        assets: Assets,
        model: tuple[str, str],
        batch: int,
        threads: int | None = None,
    ):
        if threads:
            torch.set_num_threads(threads)
        path, self.digest = model
        self.spec, self.assets, self.batch = spec, assets, batch
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        options = spec.model.model_dump(exclude={"path", "label"})
        net = load_model(storage.cached_local(path), **options)
        wanted = spec.precision
        bf16 = wanted == "bf16" or (wanted == "auto" and has_bf16(self.device.type))
        layout = torch.channels_last if bf16 else torch.contiguous_format
        net = net.to(self.device, memory_format=layout)
        self.schedule = Schedule.linear()
        self.config = spec.sampler_config
        self.denoise = EpsDenoiser(net, self.schedule, spec.model.label, bf16)

    def __call__(self, table: pa.Table) -> pa.Table:
        rows = known_columns(table["row"])
        errors = table["error"].to_pylist()
        columns = (unpack(table[name]) for name in FILES)
        inputs = [dict(zip(FILES, arrays, strict=True)) for arrays in zip(*columns, strict=True)]
        outcomes: list[dict] = [{} for _ in rows]
        pixels: list[np.ndarray | None] = [None] * len(rows)

        groups: dict[tuple, list[tuple[int, Problem]]] = defaultdict(list)
        for i, row in enumerate(rows):
            if not errors[i]:
                try:
                    problem = build_problem(row, Inputs(**inputs[i]), self.spec, self.assets)
                    groups[problem.shape_key].append((i, problem))
                except RowError as e:
                    errors[i] = str(e)
                except (ValueError, RuntimeError, MemoryError) as e:
                    errors[i] = f"cannot be posed as a problem ({type(e).__name__}: {e})"
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
            {
                **outcome,
                **constant,
                "seed": own(row, "seed", self.spec.seed),
                "status": "error" if error else "ok",
                "error": error,
            }
            for row, outcome, error in zip(rows, outcomes, errors, strict=True)
        ]
        return pa.table(
            {
                SHARD: table[SHARD],
                "row": table["row"],
                "outcome": pa.array(outcomes, pa.struct(OUTCOME)),
                "pixels": pack(pixels),
            }
        )

    def _batches(self, members: list):
        problem = members[0][1]
        area = problem.y.shape[2] * problem.y.shape[3] * problem.factor**2
        size = max(1, min(self.batch, MAX_BATCH_PIXELS // area))
        for start in range(0, len(members), size):
            yield members[start : start + size]

    def _restore_or_halve(self, problems: list[Problem]) -> list:
        """As ``_restore``; a batch that fails, for want of memory say, is tried in halves."""
        try:
            return self._restore(problems)
        except (ValueError, RuntimeError, MemoryError) as e:
            if len(problems) == 1:
                return [({}, None, f"cannot be restored ({type(e).__name__}: {e})")]
        half = len(problems) // 2
        return self._restore_or_halve(problems[:half]) + self._restore_or_halve(problems[half:])

    def _restore(self, problems: list[Problem]) -> list[tuple[dict, np.ndarray | None, str]]:
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
            # What is stored has 8 bits, so that is what is scored.
            rounded = (x.clamp(0, 1) * 255).round()
            x = rounded / 255
            residual = metrics.residual(x, operator, y, sigma).tolist()
        seconds = (time.perf_counter() - began) / len(problems)

        results = []
        for i, problem in enumerate(problems):
            if not finite[i]:
                results.append(({}, None, "the model's output is not finite"))
                continue
            picture = rounded[i].permute(1, 2, 0).to("cpu", torch.uint8).numpy()
            if problem.grey:
                picture = picture[:, :, 0]
            outcome = {
                "width": picture.shape[1],
                "height": picture.shape[0],
                "residual": residual[i],
                "noise_level": problem.noise_level,
                "seconds": seconds,
                **self._scores(problem, x[i : i + 1].cpu()),
            }
            results.append((outcome, picture, ""))
        return results

    @staticmethod
    def _scores(problem: Problem, x: Tensor) -> dict:
        if problem.reference is None:
            return {}
        baseline = baseline_of(problem, operator_of([problem]), problem.y).clamp(0, 1)
        ssim = metrics.ssim(x, problem.reference).item()
        return {
            "psnr": metrics.psnr(x, problem.reference).item(),
            "psnr_y": metrics.psnr_y(x, problem.reference).item(),
            "ssim": None if math.isnan(ssim) else ssim,
            "baseline_psnr": metrics.psnr(baseline, problem.reference).item(),
        }
