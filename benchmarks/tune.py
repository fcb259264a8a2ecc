"""The settings that suit a prior: a grid of them over a few training pictures.

    python benchmarks/tune.py FOLDER [--limit 4] [--side 128] [--tasks sr4 denoise] [--nfe 20]
        [--lam 1 3 7 15 30] [--zeta 0.3 0.7 1] [--first-timestep 999 400] [--noise 0.05]
        [--model URI] [--json FILE]

FOLDER must hold pictures that nothing is measured on. The bare sampler restores each task's
measurements with each lambda, zeta and first timestep (the task's own, unless it is given; 999 is
the whole way down); printed is the mean PSNR in dB, a line per first timestep and lambda, a column
per zeta. What is best becomes the default (`presets` of the task, in pipeline/tasks).
"""

from __future__ import annotations

import dataclasses
import itertools
import tempfile
from pathlib import Path

import torch
from baselines import problems
from tasks import TASKS, benchmark_job, square_manifest
from timing import parser, write

from diffpir import builtin_path, load_model, metrics
from diffpir.config import LAST_TIMESTEP, SamplerConfig
from diffpir.networks.denoiser import EpsDenoiser
from diffpir.networks.precision import dtype_of, place
from diffpir.randomness import noise_stream
from diffpir.sampler import restore
from diffpir.schedule import Schedule
from pipeline.problem import Problem, operator_of, start_of


def mean_psnr(network: EpsDenoiser, posed: list[Problem], config: SamplerConfig) -> float:
    """Over all problems, which share a shape and so a batch."""
    operator = operator_of(posed)
    y = torch.cat([problem.y for problem in posed])
    noise = noise_stream(
        [problem.seed for problem in posed], tuple(operator.initial(y).shape[1:]), y.device
    )
    x = restore(
        network,
        operator,
        y,
        schedule=network.schedule,
        config=config,
        noise_level=torch.tensor([problem.noise_level for problem in posed]),
        noise=noise,
        guess=start_of(posed, operator, y, config),
    )
    reference = torch.cat([problem.reference for problem in posed])
    return metrics.psnr((x.clamp(0, 1) * 255).round() / 255, reference).mean().item()


def main() -> None:
    options = parser(__doc__)
    options.add_argument("folder")
    options.add_argument("--limit", type=int, default=4)
    options.add_argument("--side", type=int, default=128)
    options.add_argument("--nfe", type=int, default=20)
    options.add_argument("--noise", type=float, nargs="+", help="levels, instead of the task's")
    options.add_argument("--lam", type=float, nargs="+", default=[1, 3, 7, 15, 30])
    options.add_argument("--zeta", type=float, nargs="+", default=[0.3, 0.7, 1])
    options.add_argument("--first-timestep", type=int, nargs="+")
    options.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    options.add_argument("--model", default="builtin")
    options = options.parse_args()
    device = torch.device("cpu")
    path = builtin_path() if options.model == "builtin" else options.model
    net = place(load_model(path, dtype_of("auto", device)), device, "auto")
    network = EpsDenoiser(net, Schedule.linear())
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        manifest = square_manifest(
            [options.folder],
            Path(folder),
            side=options.side,
            limit=options.limit,
            noise_levels=options.noise,
        )
        for task in options.tasks:
            spec = benchmark_job(manifest, Path(folder) / "unused", task)
            posed = [problem for _, problem in problems(spec)]
            usual = dataclasses.replace(spec.sampler_config, nfe=options.nfe)
            print(f"\n{task} (now lam {usual.lam:g}, zeta {usual.zeta:g})")
            print("first lam \\ zeta" + "".join(f"{zeta:8g}" for zeta in options.zeta))
            firsts = options.first_timestep or [usual.first_timestep or LAST_TIMESTEP]
            for first, lam in itertools.product(firsts, options.lam):
                line = f"{first:5} {lam:10g}"
                for zeta in options.zeta:
                    start = None if first == LAST_TIMESTEP else first
                    config = dataclasses.replace(usual, lam=lam, zeta=zeta, first_timestep=start)
                    value = mean_psnr(network, posed, config)
                    found[f"{task} first={first} lam={lam:g} zeta={zeta:g}"] = value
                    line += f"{value:8.2f}"
                print(line, flush=True)
    write(options.json, {"nfe": options.nfe, "side": options.side, "psnr": found})


if __name__ == "__main__":
    main()
