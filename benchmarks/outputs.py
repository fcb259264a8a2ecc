"""Outputs of jobs that never ran, written by the project's own writers: of any number of rows."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from manifests import storage
from pipeline.output.commit import Committer
from pipeline.output.layout import Layout
from pipeline.output.plan import Shard, write_plan
from pipeline.output.record import create_record, read_record
from pipeline.schema import OUTCOME, PICTURE, PICTURES, STATUS
from pipeline.spec.job import WATCHED, JobSpec

KINDS = ("not_found", "decode")  # of failures
FAILED_EVERY = 97  # one row in so many


def write_output(
    folder: Path,
    rows: int,
    *,
    shard_rows: int = 64,
    pictures: Sequence[Image.Image],
    offset: float = 0.0,
    id_of: Callable[[int], str] = lambda i: f"scene-{i:07d}",
    own: Callable[[int], dict[str, Any]] = lambda i: {"site": f"site {i % 5}"},
    failed_every: int = FAILED_EVERY,
    uncertainty: bool = False,
    save_steps: int | None = None,
    shards: Sequence[int] | None = None,
) -> str:
    """Write an output with scores drawn at random; returns its path.

    Args:
        folder: that gets ``pictures/`` and ``run/``.
        rows: of the job.
        shard_rows: rows of a shard.
        pictures: RGB; rows take them in turn, as measurement, result and reference.
        offset: dB that all restored pictures are better than in a run with 0.
        id_of, own: of each row its id, and the user's own columns.
        failed_every: one row in so many fails.
        uncertainty: give each row a map.
        save_steps: give the first rows so many steps of the sampler.
        shards: those that are committed; None for all.
    """
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    files = []
    for i, picture in enumerate(pictures):
        noisy = np.asarray(picture) + np.random.default_rng(i).normal(
            0, 25, (*picture.size[::-1], 3)
        )
        measured = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
        for name, image in (("measured", measured), ("reference", picture)):
            image.save(folder / "pictures" / f"{name}-{i}.png")
        files.append((_file(picture, "WEBP", quality=70 + int(offset)), picture.size))
    spread = _file(Image.linear_gradient("L").resize(pictures[0].size), "PNG")
    spec = JobSpec.model_validate(
        {
            "manifest": str(folder / "manifest.parquet"),
            "output": str(folder / "run"),
            "task": {"kind": "denoise", "noise_level": 0.1},
            "sampler": {"nfe": 20, "save_steps": save_steps},
        }
    )
    layout = Layout(storage.absolute(spec.output))

    def planned(start: int) -> pa.Table:
        some = range(start, min(start + shard_rows, rows))
        return pa.Table.from_pylist(
            [
                {
                    "id": id_of(i),
                    "image": f"pictures/measured-{i % len(files)}.png",
                    "reference": f"pictures/reference-{i % len(files)}.png",
                    **own(i),
                }
                for i in some
            ]
        )

    plan = write_plan(map(planned, range(0, rows, shard_rows)), layout)
    create_record(layout, {"model_digest": "0" * 64}, spec, plan, None, "builtin")
    record = read_record(layout)
    committer = Committer(layout, record.id)

    def commit(shard: Shard) -> None:
        start = shard.index * shard_rows
        table = planned(start)
        i = np.arange(start, start + len(table))
        failed = (i + 1) % failed_every == 0
        rng = np.random.default_rng(shard.index)
        baseline = rng.normal(24, 2, len(i))
        gain = rng.normal(4 + offset, 1, len(i))
        scores = {
            "psnr": baseline + gain,
            "psnr_y": baseline + gain + 1.3,
            "ssim": 1 / (1 + np.exp(-(baseline + gain - 22) / 4)),
            "baseline_psnr": baseline,
            "residual": rng.normal(1, 0.05, len(i)),
            "noise_level": np.full(len(i), 0.1),
            "seconds": rng.gamma(4, 0.1, len(i)),
        }
        columns: dict[str, Any] = {name: table[name] for name in table.column_names}
        columns["status"] = ["error" if f else "ok" for f in failed]
        columns["error"] = ["image: it is not there" if f else "" for f in failed]
        columns["error_kind"] = [KINDS[n % 2] if f else "" for n, f in zip(i, failed, strict=True)]
        sizes = [files[n % len(files)][1] for n in i]
        for place, name in enumerate(("width", "height")):
            columns[name] = pa.array([size[place] for size in sizes], pa.int64(), mask=failed)
        for field in OUTCOME:
            if field.name in scores:
                columns[field.name] = pa.array(scores[field.name], field.type, mask=failed)
            elif field.name not in columns:
                columns[field.name] = pa.nulls(len(i), field.type)
        columns["task"] = ["denoise"] * len(i)
        columns["seed"] = [0] * len(i)
        cells = [None if f else {"bytes": files[n % len(files)][0], "path": f"{n}.webp"}
                 for n, f in zip(i, failed, strict=True)]  # fmt: skip
        columns["restored"] = pa.array(cells, PICTURE)
        maps = [
            {"bytes": spread, "path": "map.png"} if uncertainty and cell else None for cell in cells
        ]
        columns["uncertainty_map"] = pa.array(maps, PICTURE)
        saved = [
            {"bytes": files[k % len(files)][0], "path": f"id/t{900 - k:03d}-{kind}.webp"}
            for k in range(save_steps or 0)
            for kind in ("denoised", "data")
        ]
        steps = [saved[:-1] if saved and n < WATCHED and not failed[n - start] else None for n in i]
        columns["steps"] = pa.array(steps, pa.list_(PICTURE))
        for field in PICTURES:
            if field.name not in columns:
                columns[field.name] = pa.nulls(len(i), field.type)
        own_names = [name for name in table.column_names if name not in OUTCOME.names]
        order = list(dict.fromkeys([*own_names, *STATUS.names, *OUTCOME.names, *PICTURES.names]))
        table = pa.table({name: columns[name] for name in order})
        committer.commit(
            shard.index, 0, table, 1 << 30, 0, f"node-{shard.index % 3}:{1000 + shard.index % 3}"
        )

    wanted = [s for s in record.shards if shards is None or s.index in shards]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(commit, wanted))
    return spec.output


def _file(picture: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()
