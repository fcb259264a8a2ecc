"""Columns of a job's committed rows: of all rows, or of the first ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from manifests import storage
from manifests.storage.ranges import RangedFile
from pipeline.errors import PipelineError
from pipeline.output.layout import Layout
from pipeline.output.parts import Part
from pipeline.output.run_folder import RunFolder

METRICS = (
    "psnr", "psnr_y", "ssim", "lpips_vgg", "lpips_alex", "residual", "uncertainty",
    "uncertainty_scale",
    "within_1_std", "within_2_std", "baseline_psnr", "gain",
    "seconds",
)  # fmt: skip
GROUP = "__group"  # what the column to group by is called beside the metrics
READERS = 32  # parts read at once: reading waits for storage


def load_columns(output: str, names: Iterable[str], group: str | None = None) -> pa.Table:
    """Columns of every committed row, in the order of the manifest.

    ``gain`` is ``psnr - baseline_psnr``. A dotted name reaches into a struct (``sampler.nfe``). Of
    each part only what these columns need is fetched.

    Args:
        output: folder or URI of a job.
        names: of the columns.
        group: one more, which comes under the name ``GROUP``; here a manifest's own ``gain`` is
            meant, if it has one.

    Raises:
        PipelineError: no results there, no such column, or a part is damaged.
        StorageError: a part cannot be read.
    """
    layout, parts, paths = _open_output(output, names, group)

    def read(part: Part) -> pa.Table:
        return _read(layout.part(part.name), paths)

    with ThreadPoolExecutor(READERS) as pool:
        return pa.concat_tables(pool.map(read, parts))


def each_part(output: str, names: Iterable[str]) -> Iterator[pa.Table]:
    """As :func:`load_columns`, part by part; no more than ``READERS`` of them are held at once."""
    layout, parts, paths = _open_output(output, names)

    def read(part: Part) -> pa.Table:
        return _read(layout.part(part.name), paths)

    with ThreadPoolExecutor(READERS) as pool:
        for start in range(0, len(parts), READERS):
            yield from pool.map(read, parts[start : start + READERS])


def first_rows(output: str, names: Iterable[str], limit: int) -> Iterator[tuple[Part, pa.Table]]:
    """Columns of the first ``limit`` rows, part by part: no more parts are read than hold them.

    Raises as :func:`load_columns`.
    """
    layout, parts, paths = _open_output(output, names)
    for part in parts:
        if limit <= 0:
            return
        table = _read(layout.part(part.name), paths).slice(0, limit)
        limit -= len(table)
        yield part, table


def _open_output(
    output: str, names: Iterable[str], group: str | None = None
) -> tuple[Layout, list[Part], dict[str, list[str] | None]]:
    """Its parts in order, and the steps from each of their rows to a column; none for ``gain``."""
    folder = RunFolder.open(output)
    layout, parts = folder.layout, folder.parts
    if not parts:
        raise PipelineError(
            f"{storage.shown(output)} holds no results (no parts in "
            f"{storage.shown(layout.results)})"
        )
    schema = opened(layout.part(parts[0].name)).schema_arrow
    paths = {name: [] if name == "gain" else _path(name, schema) for name in names}
    if group is not None:
        virtual = group == "gain" and group not in schema.names
        paths[GROUP] = [] if virtual else _path(group, schema)
    return layout, parts, paths


def _path(name: str, schema: pa.Schema) -> list[str] | None:
    """The steps from a row to a stored column.

    None: a metric that results of an earlier version do not have.
    """
    if name in METRICS and name not in schema.names:
        return None
    path = [name] if name in schema.names else name.split(".")
    inner = schema
    for step in path:
        names = inner.names if isinstance(inner, pa.Schema) else _fields(inner)
        if step not in names:
            raise PipelineError(f"no column {name!r}; there are {', '.join(schema.names)}")
        inner = inner.field(step).type
    return path


def _fields(kind: pa.DataType) -> list[str]:
    return [field.name for field in kind] if pa.types.is_struct(kind) else []


def opened(uri: str) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(RangedFile(uri), pre_buffer=True)
    except (pa.ArrowException, OSError, ValueError) as e:
        raise PipelineError(f"{storage.shown(uri)} is damaged: {e}") from None


def read_columns(uri: str, names: list[str]) -> pa.Table:
    """Columns of a part's file; of it, no more is fetched than they need.

    Raises:
        PipelineError: it is damaged.
        StorageError: it cannot be read.
    """
    file = opened(uri)
    try:
        return file.read(names)
    except (pa.ArrowException, OSError, ValueError) as e:
        raise PipelineError(f"{storage.shown(uri)} is damaged: {e}") from None


def _read(uri: str, paths: dict[str, list[str] | None]) -> pa.Table:
    wanted = {".".join(path) for path in paths.values() if path}
    if [] in paths.values():
        wanted |= {"psnr", "baseline_psnr"}
    table = read_columns(uri, sorted(wanted))
    columns = {}
    for name, path in paths.items():
        if path is None:
            columns[name] = pa.nulls(len(table), pa.float64())
        elif not path:
            columns[name] = pc.subtract(table["psnr"], table["baseline_psnr"])
        else:
            column = table[path[0]]
            columns[name] = pc.struct_field(column, path[1:]) if path[1:] else column
    return pa.table(columns)
