"""What is restored how well: sets of pictures x tasks x noise x evaluations, with baselines.

    python benchmarks/quality.py SET [SET ...] -o OUT [--limit 8] [--nfe 20] [--tasks sr4 denoise]
        [--noise 0 0.05] [--zeta 0 1] [--no-baselines] [--model URI]

SETs are folders of clean pictures, of which the central 256 x 256 pixels are taken. Each task and
number of evaluations is a job of the pipeline itself, in OUT/TASK-nfeN (`diffpir metrics
OUT/sr4-nfe20 --by set`); `--zeta` adds jobs with that zeta at the first `--nfe`. The baselines
(`baselines.py`) are given the very same measurements. OUT/scores.parquet has a row per picture
and method, OUT/scores.md the means of each set with standard errors, OUT/overview.md those of all
sets; `plots.py quality OUT` draws them. A second call with the same output resumes. Without
`--noise` each task has its own (`tasks.py`).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from baselines import scores as baseline_scores
from tasks import TASKS, benchmark_job, square_manifest

from jobs.console import ProgressLine
from jobs.results import load_columns
from pipeline.run import run_job

COLUMNS = ("id", "set", "noise_level", "psnr", "ssim", "residual", "seconds")


def manifest_of(options: argparse.Namespace, task: str) -> Path:
    """The pictures of a task. There is nothing to restore in one without noise or blur."""
    levels = options.noise
    if levels is not None and task == "denoise":
        levels = [level for level in levels if level]
    return square_manifest(
        options.sets,
        options.output,
        side=options.side,
        limit=options.limit,
        noise_levels=levels,
    )


def sampled(options: argparse.Namespace, task: str, nfe: int, zeta: float | None) -> list[dict]:
    """Records of the task's job, which is run, or finished, or read if it had ended."""
    method = f"nfe{nfe}" + ("" if zeta is None else f"-zeta{zeta:g}")
    settings = {"nfe": nfe} | ({} if zeta is None else {"zeta": zeta})
    output = options.output / f"{task}-{method}"
    run_job(
        benchmark_job(
            manifest_of(options, task), output, task, model=options.model, sampler=settings
        ),
        ProgressLine(),
    )
    rows = load_columns(str(output), COLUMNS).to_pylist()
    failed = [row["id"] for row in rows if row["psnr"] is None]
    if failed:
        raise SystemExit(f"{output}: not restored: {', '.join(failed)} (the results say why)")
    return [row | {"task": task, "method": f"diffpir-{method}"} for row in rows]


def compared(options: argparse.Namespace, task: str) -> list[dict]:
    """Records of the task's baselines, kept in a file, whose name tells the settings."""
    manifest = manifest_of(options, task)
    file = options.output / f"{task}-{manifest.stem}-pnp{options.nfe[0]}.parquet"
    if not file.exists():
        spec = benchmark_job(manifest, options.output / "unused", task)
        records = baseline_scores(spec, options.model, options.nfe[0])
        pq.write_table(pa.Table.from_pylist(records), file)
    known = set(pq.read_table(manifest, columns=["id"])["id"].to_pylist())
    rows = pq.read_table(file).to_pylist()
    if {row["id"] for row in rows} != known:
        raise SystemExit(f"{file} is of other pictures: choose another output")
    return [row | {"task": task} for row in rows]


def table(records: list[dict]) -> str:
    """Markdown: a line per task, set, noise and method, best PSNR in bold."""
    groups: dict[tuple, dict[str, list[dict]]] = {}
    for r in records:
        key = (r["task"], r["set"], r["noise_level"])
        groups.setdefault(key, {}).setdefault(r["method"], []).append(r)
    lines = [
        "| task | set | noise | method | images | PSNR (s.e.) | SSIM | residual | s per image |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for (task, name, noise), methods in groups.items():
        best = max(methods, key=lambda m: mean(methods[m], "psnr"))
        for method, rows in methods.items():
            psnr = f"{mean(rows, 'psnr'):.2f}"
            psnr = f"**{psnr}**" if method == best else psnr
            lines.append(
                f"| {task} | {name} | {noise:g} | {method} | {len(rows)} | "
                f"{psnr} ({standard_error(rows):.2f}) | {mean(rows, 'ssim'):.3f} | "
                f"{mean(rows, 'residual'):.2f} | {mean(rows, 'seconds'):.1f} |"
            )
    return "\n".join(lines)


def overview(records: list[dict], nfe: int) -> str:
    """Markdown: a line per task and noise, a column per method: mean PSNR over all sets' pictures.

    The gain is that of the sampler with ``nfe`` evaluations over the measurement itself, paired by
    picture, with the standard error of its mean.
    """
    methods = list(dict.fromkeys(r["method"] for r in records))
    groups: dict[tuple, dict[str, dict[str, dict]]] = {}
    for r in records:
        group = groups.setdefault((r["task"], r["noise_level"]), {})
        group.setdefault(r["method"], {})[r["id"]] = r
    lines = [
        "| task | noise | images | " + " | ".join(methods) + " | gain (s.e.) |",
        "| --- " * (len(methods) + 4) + "|",
    ]
    for (task, noise), found in groups.items():
        means = {name: mean(list(rows.values()), "psnr") for name, rows in found.items()}
        best = max(means, key=means.get)
        shown = {name: f"{value:.2f}" for name, value in means.items()}
        shown[best] = f"**{shown[best]}**"
        cells = [shown.get(name, "") for name in methods]
        ours, gain = found[f"diffpir-nfe{nfe}"], ""
        if measured := found.get("none"):
            rows = [{"psnr": ours[id]["psnr"] - measured[id]["psnr"]} for id in ours]
            gain = f"{mean(rows, 'psnr'):+.2f} ({standard_error(rows):.2f})"
        lines.append(f"| {task} | {noise:g} | {len(ours)} | {' | '.join(cells)} | {gain} |")
    return "\n".join(lines)


def mean(rows: list[dict], name: str) -> float:
    return sum(row[name] for row in rows) / len(rows)


def standard_error(rows: list[dict]) -> float:
    """Of the mean PSNR over pictures; 0 of one picture, which tells none."""
    if len(rows) < 2:
        return 0.0
    centre = mean(rows, "psnr")
    variance = sum((row["psnr"] - centre) ** 2 for row in rows) / (len(rows) - 1)
    return (variance / len(rows)) ** 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="+", metavar="SET")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--nfe", type=int, nargs="+", default=[20])
    parser.add_argument("--noise", type=float, nargs="+", help="levels, instead of the task's")
    parser.add_argument("--zeta", type=float, nargs="+", default=[])
    parser.add_argument("--limit", type=int, help="pictures of each set")
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--model", default="builtin")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--no-baselines", action="store_true")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    records: list[dict] = []
    for task in options.tasks:
        found = []
        if not options.no_baselines:
            found += compared(options, task)
        for nfe in options.nfe:
            found += sampled(options, task, nfe, None)
        for zeta in options.zeta:
            found += sampled(options, task, options.nfe[0], zeta)
        print(table(found), end="\n\n", flush=True)
        records += found
    (options.output / "scores.md").write_text(table(records) + "\n")
    (options.output / "overview.md").write_text(overview(records, options.nfe[0]) + "\n")
    pq.write_table(pa.Table.from_pylist(records), options.output / "scores.parquet")


if __name__ == "__main__":
    main()
