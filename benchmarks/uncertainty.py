"""Whether error bars fit: the share of true values within them, on pictures that were not tuned on.

    python benchmarks/uncertainty.py SET [SET ...] -o OUT [--limit 4] [--side 128] [--samples 4]
        [--nfe 20] [--tasks sr4 denoise] [--noise 0.05] [--scale 1] [--model URI]

SETs are folders of clean pictures. Each task is a job of the pipeline itself, in OUT/TASK. Printed
for each: the PSNR of the mean of the samples, the share of true values within one and two standard
deviations of that mean (of a calibrated posterior 0.683 and 0.954), and the `uncertainty_scale` at
which 0.683 lie within one, its mean over the pictures and the standard deviation of its logarithm.
``--scale`` takes the place of the scale that the task has by default.
"""

from __future__ import annotations

import argparse
import math
import statistics
from pathlib import Path

from tasks import TASKS, benchmark_job, square_manifest

from jobs.console import ProgressLine
from jobs.results import load_columns
from pipeline.run import run_job

COLUMNS = ("psnr", "uncertainty", "uncertainty_scale", "within_1_std", "within_2_std")
USUAL = ["deblur-motion", "deblur-gaussian", "sr4", "inpaint-random", "inpaint-box", "denoise"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="+", metavar="SET")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=4, help="pictures of each set")
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--nfe", type=int, default=20)
    parser.add_argument("--noise", type=float, nargs="+", help="levels, instead of the task's")
    parser.add_argument("--scale", type=float)
    parser.add_argument("--model", default="builtin")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=USUAL)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    manifest = square_manifest(
        options.sets,
        options.output,
        side=options.side,
        limit=options.limit,
        noise_levels=options.noise,
    )
    print("| task | pictures | PSNR | within 1 | within 2 | scale needed (sd of its log) |")
    print("| --- | --- | --- | --- | --- | --- |")
    for task in options.tasks:
        output = options.output / task
        spec = benchmark_job(
            manifest,
            output,
            task,
            model=options.model,
            sampler={"nfe": options.nfe},
            samples=options.samples,
            uncertainty=True,
            uncertainty_scale=options.scale,
        )
        run_job(spec, ProgressLine())
        rows = load_columns(str(output), COLUMNS).to_pylist()
        found = {name: [row[name] for row in rows if row[name] is not None] for name in COLUMNS}
        logs = [math.log(scale) for scale in found["uncertainty_scale"]]
        means = {name: statistics.fmean(values) for name, values in found.items()}
        print(
            f"| {task} | {len(rows)} | {means['psnr']:.2f} | {means['within_1_std']:.2f} | "
            f"{means['within_2_std']:.2f} | {means['uncertainty_scale']:.2f} "
            f"({statistics.stdev(logs) if len(logs) > 1 else 0:.2f}) |",
            flush=True,
        )


if __name__ == "__main__":
    main()
