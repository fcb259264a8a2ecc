"""What the quality benchmark compares with: restorers without a sampler.

    none    the measurement itself: blurred, enlarged bicubically, filled by local means, noisy
    wiener  deconvolution with a Laplacian regulariser (skimage.restoration.wiener)
    tv      total variation (Chambolle's, of skimage) by half-quadratic splitting
    pnp     the same prior as a plain denoiser in DPIR's schedule (Zhang et al. 2021, section 4.2)

A regulariser's strength is the one that is best on average over the very pictures measured, which
favours these baselines.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator

import numpy as np
import torch
from skimage.restoration import denoise_tv_chambolle, wiener
from torch import Tensor

from diffpir import builtin_path, load_model, metrics
from diffpir.networks.denoiser import EpsDenoiser
from diffpir.networks.precision import dtype_of, place
from diffpir.operators import Denoise, Downsample, Operator
from diffpir.sampling import SIGMA_FLOOR
from diffpir.schedule import Schedule
from manifests import storage
from manifests.read import read_manifest
from pipeline.fence.decoders import decode_image
from pipeline.restoring.problem import Problem, baseline_of, build_problem, operator_of
from pipeline.spec.job import JobSpec
from pipeline.tasks.assets import Assets
from pipeline.tasks.row import Inputs

BALANCES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)  # of the Wiener filter's regulariser
STRENGTHS = (0.25, 0.5, 1.0, 2.0)  # of total variation, per unit of the step's noise level
TV_STEPS = 24
LAMBDAS = (0.08, 0.23, 0.7)  # of plug-and-play: DPIR's own is 0.23
SPLIT_FROM = 49 / 255  # DPIR's first noise level, on [0, 1]
SPLIT_TO = 0.01  # and its last, unless the measurement's noise is stronger

Method = Callable[[Problem, float], Tensor]


def problems(spec: JobSpec) -> Iterator[tuple[dict, Problem]]:
    """The rows of a job and the very problems that it poses: same noise, masks and kernels."""
    for row in read_manifest(spec.manifest).to_pylist():
        inputs = Inputs(decode_image(storage.read_bytes(row["image"])))
        yield row, build_problem(row, inputs, spec, Assets())


def split(
    operator: Operator,
    problem: Problem,
    denoise: Callable[[Tensor, float], Tensor],
    steps: int,
    lam: float,
) -> Tensor:
    """Half-quadratic splitting: data step, denoising, at noise levels that fall geometrically."""
    sigma_n = max(problem.noise_level, SIGMA_FLOOR)
    x = baseline_of(problem)
    for sigma in np.geomspace(SPLIT_FROM, min(SPLIT_FROM, max(sigma_n, SPLIT_TO)), steps):
        x = denoise(operator.prox(x, problem.y, lam * sigma_n**2 / sigma**2), float(sigma))
    return operator.impose(x, problem.y) if problem.noise_level == 0 else x


def none(problem: Problem, _: float) -> Tensor:
    return baseline_of(problem)


def by_wiener(problem: Problem, balance: float) -> Tensor:
    kernel = problem.arrays.get("kernel", np.ones((1, 1)))
    channels = [wiener(c.numpy(), kernel, balance, clip=False) for c in problem.y[0]]
    return torch.from_numpy(np.stack(channels)[None]).float()


def by_tv(problem: Problem, strength: float) -> Tensor:
    def denoise(x: Tensor, sigma: float) -> Tensor:
        smooth = denoise_tv_chambolle(x[0].numpy(), strength * sigma, channel_axis=0)
        return torch.from_numpy(smooth[None]).to(x)

    return split(operator_of([problem]), problem, denoise, TV_STEPS, lam=1.0)


def plug_and_play(model: str, nfe: int) -> Method:
    """The prior's one-shot denoising in place of a denoiser: nothing is sampled."""
    schedule, device = Schedule.linear(), torch.device("cpu")  # the measurements are there
    net = load_model(builtin_path() if model == "builtin" else model, dtype_of("auto", device))
    network = EpsDenoiser(place(net, device, "auto"), schedule)

    def denoise(x: Tensor, sigma: float) -> Tensor:
        # On [-1, 1] the noise is twice as strong.
        t = int(np.abs(np.log(schedule.sigma_bar / (2 * sigma))).argmin())
        x0 = network(float(schedule.alpha_bar[t]) ** 0.5 * (2 * x - 1), t)
        return (x0.clamp(-1, 1) + 1) / 2

    def restored(problem: Problem, lam: float) -> Tensor:
        return split(operator_of([problem]), problem, denoise, nfe, lam)

    return restored


def methods_for(
    operator: Operator, pnp: Method, nfe: int
) -> dict[str, tuple[Method, tuple[float, ...]]]:
    """Name -> (method, the strengths to try) of those that an operator allows."""
    found = {"none": (none, (0.0,)), "tv": (by_tv, STRENGTHS)}
    if isinstance(operator, Denoise) or (isinstance(operator, Downsample) and operator.factor == 1):
        found["wiener"] = by_wiener, BALANCES
    found[f"pnp-{nfe}"] = pnp, LAMBDAS
    return found


def scores(spec: JobSpec, model: str, nfe: int) -> list[dict]:
    """A record for each row of the job and each method, at the method's best strength.

    The strength is chosen per set and noise level, by mean PSNR.
    """
    tried: dict[tuple, list[dict]] = defaultdict(list)
    pnp = plug_and_play(model, nfe)
    for row, problem in problems(spec):
        operator = operator_of([problem])
        for name, (method, strengths) in methods_for(operator, pnp, nfe).items():
            for strength in strengths:
                began = time.perf_counter()
                x = method(problem, strength)
                seconds = time.perf_counter() - began
                x = (x.clamp(0, 1) * 255).round() / 255
                record = {
                    "id": row["id"],
                    "set": row["set"],
                    "noise_level": problem.noise_level,
                    "method": name,
                    "strength": strength,
                    "psnr": metrics.psnr(x, problem.reference).item(),
                    "ssim": metrics.ssim(x, problem.reference).item(),
                    "residual": metrics.residual(
                        x, operator, problem.y, problem.noise_level
                    ).item(),
                    "seconds": seconds,
                }
                tried[name, row["set"], problem.noise_level, strength].append(record)
    best: dict[tuple, list[dict]] = {}
    for (*group, _), records in tried.items():
        known = best.get(tuple(group))
        if known is None or _mean_psnr(records) > _mean_psnr(known):
            best[tuple(group)] = records
    return [record for records in best.values() for record in records]


def _mean_psnr(records: list[dict]) -> float:
    return sum(record["psnr"] for record in records) / len(records)
