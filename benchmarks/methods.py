"""One table: methods x tasks x evaluations, on the same pictures, noise and prior, in one flow.

    python benchmarks/methods.py SET [SET ...] -o OUT [--tasks sr4 ...] [--methods ddrm:20 ...]
        [--limit 4] [--side 128] [--noise 0.05] [--model FILE] [--lpips-vgg FILE]
        [--against diffpir-spectral:20]

Central squares of each set's pictures are degraded, restored and scored by jobs, OUT/TASK/METHOD-N;
a job that is done is not run again, and what a method cannot do is named. `default:20` is the
method that a job has by default. HaarPSI (Reisenhofer et al. 2018; 1 is best) is piq's, and wants
`pip install '.[benchmarks]'`; LPIPS wants its weights. OUT/methods.parquet has a row for each
picture, OUT/methods.md the means, with differences to one method, paired by picture, and their
standard errors; OUT/methods-nfe.png and OUT/methods-seconds.png draw them.
"""

from __future__ import annotations

import argparse
import io
from collections import defaultdict
from pathlib import Path

import matplotlib
import numpy as np
import piq
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from tasks import TASKS, benchmark_job, square_manifest

from jobs.console import ProgressLine
from jobs.results import load_columns
from manifests.read import read_manifest
from pipeline.errors import PipelineError
from pipeline.output.layout import Layout
from pipeline.output.summary import read_summary
from pipeline.run import run_job
from pipeline.tasks.row import to_tensor

matplotlib.use("Agg")
import matplotlib.pyplot as plt

USUAL_TASKS = ("deblur-gaussian", "deblur-motion", "sr4", "inpaint-random")
USUAL = (
    "diffpir:20", "diffpir:100", "diffpir-spectral:20", "hqs:8", "ddnm:20", "ddnm:100", "ddrm:20",
    "ddrm:100", "red-diff:100", "dds:20", "dds:50", "pigdm:20", "daps:100", "dps:100",
)  # fmt: skip
DIGITS = {"psnr": 2, "ssim": 3, "haarpsi": 3, "lpips_vgg": 3}  # of the scores


def scored(options: argparse.Namespace, manifest: Path, task: str, method: str) -> list[dict]:
    """A record for each picture; none, and why is printed, where the method cannot do the task."""
    name, _, nfe = method.partition(":")
    sampler = {"nfe": int(nfe)} | ({} if name == "default" else {"method": name})
    settings = {"sampler": sampler, "model": options.model}
    if options.lpips_vgg:
        settings["perceptual"] = {"lpips_vgg": options.lpips_vgg}
    output = options.output / task / f"{name}-{nfe}"
    try:
        run_job(benchmark_job(manifest, output, task, **settings), ProgressLine(), on_note=print)
    except (PipelineError, ValueError) as e:
        print(f"{task}: {method}: {e}")
        return []
    columns = ("id", "psnr", "ssim", "lpips_vgg", "residual", "seconds", "restored")
    rows = load_columns(str(output), columns).to_pylist()
    summary = read_summary(Layout(str(output)))
    images = {row["id"]: row["image"] for row in read_manifest(str(manifest)).to_pylist()}
    found = []
    for row in rows:
        if row["psnr"] is None:
            print(f"{output}: {row['id']} was not restored; the results say why")
            continue
        x = to_tensor(np.asarray(Image.open(io.BytesIO(row.pop("restored")["bytes"]))))
        height, width = x.shape[2:]
        true = to_tensor(np.asarray(Image.open(images[row["id"]]).convert("RGB")))
        row["haarpsi"] = piq.haarpsi(x, true[..., :height, :width]).item()
        row |= {"task": task, "method": name, "nfe": int(nfe), "peak_memory": summary.peak_memory}
        found.append(row)
    return found


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
            s: (min if s == "lpips_vgg" else max)(
                mean(rows.values(), s) for rows in methods.values()
            )
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
    shown = [s for s in ("psnr", "haarpsi", "lpips_vgg") if any(r[s] is not None for r in records)]
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
        for task in options.tasks:
            records += scored(options, manifest, task, method)
    order = {task: i for i, task in enumerate(options.tasks)}
    records.sort(key=lambda r: order[r["task"]])
    text = table(records, options.against)
    print(text)
    (options.output / "methods.md").write_text(text + "\n")
    pq.write_table(pa.Table.from_pylist(records), options.output / "methods.parquet")
    figure(records, "nfe", "network evaluations", options.output / "methods-nfe.png")
    figure(records, "seconds", "seconds a picture", options.output / "methods-seconds.png")


if __name__ == "__main__":
    main()
