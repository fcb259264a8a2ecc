"""Plots of the quality benchmark and of a training run (`pip install '.[benchmarks]'`).

    python benchmarks/plots.py quality OUT            OUT/quality-nfe.png, OUT/quality-seconds.png
    python benchmarks/plots.py training PRIOR -o PNG  losses and validation, by noise level

OUT is what `quality.py` wrote, with baselines. Each task is a panel; a line is the mean gain over
the measurement at one noise level, its bars are standard errors; dashed lines are the baselines.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import matplotlib
import numpy as np
import pyarrow.parquet as pq

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

SMOOTHED = 20  # entries of the log that a point is the mean of


def quality(out: Path) -> None:
    records = pq.read_table(out / "scores.parquet").to_pylist()
    for r in records:
        told = re.fullmatch(r"diffpir-nfe(\d+)", r["method"])
        r["nfe"] = int(told[1]) if told else None
    if not any(r["method"] == "none" for r in records):
        raise SystemExit(f"{out} has no baselines to draw gains over: run quality.py with them")
    levels = sorted({r["noise_level"] for r in records})
    colours = {level: f"C{i}" for i, level in enumerate(levels)}  # the same in every panel
    for name, label in (("nfe", "network evaluations"), ("seconds", "seconds per picture")):
        tasks = list(dict.fromkeys(r["task"] for r in records))
        columns = min(4, len(tasks))
        lines = -(-len(tasks) // columns)
        figure, axes = plt.subplots(
            lines, columns, figsize=(4 * columns, 3.2 * lines), squeeze=False, layout="constrained"
        )
        for axis in axes.flat[len(tasks) :]:
            axis.axis("off")
        for axis, task in zip(axes.flat, tasks, strict=False):
            panel(axis, [r for r in records if r["task"] == task], name, colours)
            axis.set(title=task, xlabel=label, ylabel="gain in dB", xscale="log")
            axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.xaxis.set_major_formatter(ScalarFormatter())
            axis.xaxis.set_minor_formatter(NullFormatter())
        axes.flat[0].legend(fontsize="x-small")
        figure.savefig(out / f"quality-{name}.png", dpi=110)
        print(out / f"quality-{name}.png")


def panel(axis: plt.Axes, records: list[dict], across: str, colours: dict[float, str]) -> None:
    """Gains over the measurement itself, which pair pictures that differ more than methods do."""
    for noise in sorted({r["noise_level"] for r in records}):
        methods: dict[str, dict[str, dict]] = {}
        for r in records:
            if r["noise_level"] == noise:
                methods.setdefault(r["method"], {})[r["id"]] = r
        measured = methods.pop("none")
        points, others = [], {}
        for name, rows in methods.items():
            gain = np.array([r["psnr"] - measured[id]["psnr"] for id, r in rows.items()])
            first = next(iter(rows.values()))
            if first["nfe"]:
                error = gain.std(ddof=1) / len(gain) ** 0.5 if len(gain) > 1 else 0.0
                points.append((np.mean([r[across] for r in rows.values()]), gain.mean(), error))
            else:
                others[name] = gain.mean()
        x, y, error = zip(*sorted(points), strict=True)
        colour = colours[noise]
        axis.errorbar(x, y, error, marker="o", capsize=2, color=colour, label=f"noise {noise:g}")
        for name, gain in others.items():
            axis.axhline(gain, ls="--", lw=0.8, color=colour)
            axis.annotate(name, (1, gain), xycoords=("axes fraction", "data"), fontsize=6)


def training(folder: Path, target: Path) -> None:
    figure, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    lines = [entries_of(folder / name) for name in ("log.jsonl", "validation.jsonl")]
    for axis, entries, prefix in zip(axes, lines, ("loss_sigma_", "psnr_sigma_"), strict=True):
        for name in dict.fromkeys(key for e in entries for key in e if key.startswith(prefix)):
            points = [(e["step"], e[name]) for e in entries if name in e]
            smoothed = SMOOTHED if prefix == "loss_sigma_" else 1
            parts = np.array_split(np.array(points), max(1, len(points) // smoothed))
            step, value = np.array([part.mean(axis=0) for part in parts]).T
            label = name.removeprefix(prefix).replace("_", " to ")
            if prefix == "psnr_sigma_":  # tenths of a dB, which a common axis would hide
                label, value = f"{label}: {value[0]:.2f} dB", value - value[0]
            axis.plot(step, value, marker=".", label=label)
        axis.set(xlabel="step")
        if entries:
            axis.legend(title="sigma_bar")
    axes[0].set(ylabel="error of the noise, mean square", yscale="log")
    axes[1].set(ylabel="denoised in one evaluation: gain in dB")
    figure.savefig(target, dpi=110)
    print(target)


def entries_of(file: Path) -> list[dict]:
    """None of a run that had no photographs for validation."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="what", required=True)
    command = commands.add_parser("quality")
    command.add_argument("out", type=Path)
    command = commands.add_parser("training")
    command.add_argument("prior", type=Path)
    command.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    if options.what == "quality":
        quality(options.out)
    else:
        training(options.prior, options.output)


if __name__ == "__main__":
    main()
