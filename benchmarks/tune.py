"""Which settings suit a prior: a search along one setting after another, on training pictures.

    python benchmarks/tune.py FOLDER [--tasks deblur-motion sr4] [--noise 0.05] [--nfe 10]
        [--limit 8] [--side 96] [--start method=diffpir lam=5 ...]
        [--vary lam=1,2,4 relax=0.3,0.4,0.5 ...] [--model FILE] [--json FILE]

FOLDER must hold pictures that nothing is measured on. Beginning with the tasks' usual settings (in
which ``--start`` replaces some), each setting in turn takes the value of ``--vary`` that gives the
highest mean PSNR over all tasks and noise levels, until a round gains less than 0.01 dB. Printed is
a line for each trial. What is best becomes the default (`presets` of the task, in pipeline/tasks).
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from baselines import problems
from tasks import TASKS, benchmark_job, square_manifest
from timing import parser, write

from diffpir import ConfigError, builtin_path, load_model, metrics
from diffpir.checkpoints.checkpoint import read_spectrum
from diffpir.config import SamplerConfig
from diffpir.networks.denoiser import EpsDenoiser
from diffpir.networks.precision import dtype_of, place
from diffpir.randomness import noise_stream
from diffpir.sampler import restore
from diffpir.schedule import Schedule
from diffpir.spectrum import PriorSpectrum
from pipeline.restoring.problem import Problem, operator_of, start_of

GAIN = 0.01  # dB of a round, below which the search ends


@dataclasses.dataclass(frozen=True)
class Bench:
    """A prior, and the problems of some tasks that it is tried on."""

    network: EpsDenoiser
    spectrum: PriorSpectrum | None
    posed: dict[str, list[Problem]]

    def psnr(self, config: SamplerConfig) -> dict[str, float]:
        """Task -> mean PSNR in dB."""
        return {task: self._mean(posed, config) for task, posed in self.posed.items()}

    def _mean(self, posed: list[Problem], config: SamplerConfig) -> float:
        groups: dict[tuple, list[Problem]] = defaultdict(list)
        for problem in posed:
            groups[problem.shape_key].append(problem)
        return sum(self._total(group, config) for group in groups.values()) / len(posed)

    def _total(self, posed: list[Problem], config: SamplerConfig) -> float:
        operator = operator_of(posed)
        y = torch.cat([problem.y for problem in posed])
        shape = tuple(operator.initial(y).shape[1:])
        x = restore(
            self.network,
            operator,
            y,
            schedule=self.network.schedule,
            config=config,
            noise_level=torch.tensor([problem.noise_level for problem in posed]),
            noise=noise_stream([problem.seed for problem in posed], shape, y.device),
            guess=start_of(posed, operator, y, config),
            spectrum=self.spectrum,
        )
        reference = torch.cat([problem.reference for problem in posed])
        x = operator.frame(x)
        return metrics.psnr((x.clamp(0, 1) * 255).round() / 255, reference).sum().item()


def search(bench: Bench, start: SamplerConfig, vary: dict[str, list[Any]]) -> list[dict]:
    """All trials, the best of them last."""
    trials: list[dict] = []

    def tried(config: SamplerConfig) -> float:
        found = bench.psnr(config)
        mean = sum(found.values()) / len(found)
        trials.append({**{name: getattr(config, name) for name in vary}, **found, "mean": mean})
        told = [f"{name} {value:.4g}" if value.__class__ is float else f"{name} {value}"
                for name, value in trials[-1].items()]  # fmt: skip
        print("  ".join(told), flush=True)
        return mean

    best, reached = start, tried(start)
    while True:
        before = reached
        for name, values in vary.items():
            for value in values:
                if value == getattr(best, name):
                    continue
                config = dataclasses.replace(best, **{name: value})
                if (mean := tried(config)) > reached:
                    best, reached = config, mean
        if reached - before < GAIN:
            break
    print("best:", best)
    return [*trials, {"best": dataclasses.asdict(best), "mean": reached}]


def setting(text: str) -> tuple[str, list[Any]]:
    """``name=1,2`` as a setting's name and values of its type."""
    name, _, values = text.partition("=")
    kinds = {field.name: field.type for field in dataclasses.fields(SamplerConfig)}
    if name not in kinds or not values:
        raise argparse.ArgumentTypeError(f"{text!r} is no setting's name=value[,value...]")

    def value(word: str) -> Any:
        try:
            return int(word) if "int" in kinds[name] else float(word)
        except ValueError:
            return None if word == "none" else word

    return name, [value(word) for word in values.split(",")]


def main() -> None:
    options = parser(__doc__)
    options.add_argument("folder")
    options.add_argument("--limit", type=int, default=8)
    options.add_argument("--side", type=int, default=96)
    options.add_argument("--nfe", type=int, default=10)
    options.add_argument("--noise", type=float, nargs="+", help="levels, instead of the task's")
    options.add_argument("--start", type=setting, nargs="+", default=[])
    options.add_argument("--vary", type=setting, nargs="+", default=[])
    options.add_argument("--tasks", nargs="+", choices=TASKS, default=["deblur-motion", "sr4"])
    options.add_argument("--model", default="builtin")
    options = options.parse_args()
    device = torch.device("cpu")
    path = builtin_path() if options.model == "builtin" else options.model
    net = place(load_model(path, dtype_of("auto", device)), device, "auto")
    spectrum = read_spectrum(path)
    with tempfile.TemporaryDirectory() as folder:
        manifest = square_manifest(
            [options.folder],
            Path(folder),
            side=options.side,
            limit=options.limit,
            noise_levels=options.noise,
        )
        specs = {t: benchmark_job(manifest, Path(folder) / "unused", t) for t in options.tasks}
        posed = {task: [p for _, p in problems(spec)] for task, spec in specs.items()}
    first = specs[options.tasks[0]]
    sampler = first.sampler.model_copy(
        update={"nfe": options.nfe} | {name: values[0] for name, values in options.start}
    )
    try:
        start = first.model_copy(update={"sampler": sampler}).sampler_config(bool(spectrum))
    except ConfigError as e:
        raise SystemExit(f"--start: {e}") from None
    bench = Bench(EpsDenoiser(net, Schedule.linear()), spectrum, posed)
    write(options.json, {"trials": search(bench, start, dict(options.vary))})


if __name__ == "__main__":
    main()
