"""``diffpir sheet``: what was measured, what was restored, and the reference where there is one."""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial

import pyarrow as pa

from jobs.captions import facts
from jobs.drawing import Cell, Row, contact_sheet
from jobs.measurements import Measurement, Measurements
from jobs.restored import RestoredPictures
from jobs.results import first_rows
from jobs.thumbnails import brightest_at, detail, fitted, liveliest, same_shape
from manifests import storage
from pipeline.errors import PipelineError, RowError
from pipeline.fence.decoders import decode_picture
from pipeline.output.layout import Layout
from pipeline.output.plan import read_shard
from pipeline.output.record import read_record, spec_of
from pipeline.output.run_folder import RunFolder
from pipeline.spec.job import JobSpec
from pipeline.steps.table import known_columns

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
COLUMNS = (
    "id", "status", "error", "task", "psnr", "baseline_psnr", "noise_level", "noise",
    "kernel_estimate", "uncertainty", "restored", "uncertainty_map",
)  # fmt: skip
BRIGHTEST = 0.99  # share of a picture's pixels that are less uncertain than those shown as white
MAGNIFIED = 1.5  # a part at 100 % is shown where it is at least so much larger than the whole is


def write_sheet(
    outputs: Sequence[str],
    file: str,
    limit: int,
    side: int,
    allow_code: Collection[str] = (),
) -> list[str]:
    """Draw the first rows of each output, and write the picture.

    Args:
        outputs: folders or URIs of jobs.
        file: path or URI, ``.png``, ``.jpg`` or ``.webp``.
        limit: rows of each output.
        side: of a cell in pixels.
        allow_code: modules and packages that a benchmark's task may import.

    Returns:
        for each output, in words, how many of its rows are on the sheet.

    Raises:
        PipelineError: no results there, another kind of file, a kernel or mask that a benchmark
            used is gone.
        StorageError: an output cannot be read, or the file not be written.
    """
    suffix = file[file.rfind(".") :].lower()
    if suffix not in FORMATS:
        raise PipelineError(f"{storage.shown(file)}: a sheet is one of {', '.join(FORMATS)}")
    rows: list[Row] = []
    told = []
    for output in outputs:
        fresh = list(sheet_rows(output, limit, side, allow_code))
        told.append(f"{storage.shown(output)}: {len(fresh)} of {RunFolder.open(output).rows} rows")
        rows += fresh
    buffer = io.BytesIO()
    contact_sheet(rows, side).save(buffer, FORMATS[suffix])
    storage.write_bytes(file, buffer.getvalue())
    return told


def sheet_rows(
    output: str, limit: int, side: int, allow_code: Collection[str] = ()
) -> Iterator[Row]:
    """The first rows of an output for a sheet; only the parts that hold them are read.

    Files of the manifest are read again: its relative paths start where they did for the job. One
    that is gone is said in its row.
    """
    layout = Layout(storage.absolute(output))
    record = read_record(layout)
    spec = spec_of(record, layout)
    channels = record.prior_channels
    measurements = Measurements(spec, channels, allow_code)
    show = RestoredPictures(spec, channels)
    for part, results in first_rows(output, COLUMNS, limit):
        planned = read_shard(record.shards[part.shard], layout).slice(0, len(results))
        rows = known_columns(pa.chunked_array(planned.to_struct_array()))
        measurement = measurements.reader(planned)
        for i, (result, row) in enumerate(zip(results.to_pylist(), rows, strict=True)):
            yield _row(result, row, partial(measurement, i), show, spec, side)


def _row(
    result: dict,
    row: dict,
    measure: Callable[[], Measurement],
    show: RestoredPictures,
    spec: JobSpec,
    side: int,
) -> Row:
    title = f"{result['id']}: {', '.join(facts(result, row, spec))}"
    if result["status"] != "ok":
        return Row(title, words=result["error"])
    try:
        restored = show(result["restored"]["bytes"])
    except RowError as e:
        return Row(title, words=f"restored: {e}")
    measurement = measure()
    captions = {"measured": "measured", "restored": "restored", "reference": "reference"}
    if result["psnr"] is not None:
        captions["measured"] += f" (baseline {result['baseline_psnr']:.1f} dB)"
        captions["restored"] += f", {result['psnr']:.1f} dB"
    found = {
        "measured": measurement.measured,
        "restored": restored,
        "reference": measurement.reference,
    }
    if seen := result["uncertainty_map"]:
        spread = decode_picture(seen["bytes"], max_pixels=spec.max_pixels).pixels
        found["uncertainty"] = brightest_at(spread, BRIGHTEST)
        captions["uncertainty"] = f"uncertainty, mean {result['uncertainty']:.3f}"
    pictures = {name: picture for name, picture in found.items() if picture}
    lines = [[Cell(fitted(p, restored, side), captions[name]) for name, p in pictures.items()]]
    if max(restored.size) > MAGNIFIED * side:
        box = liveliest(restored, side)
        lines.append(
            [
                Cell(detail(p, restored, box), f"{name} at 100 %")
                for name, p in pictures.items()
                if same_shape(p, restored)
            ]
        )
    return Row(title, lines, measurement.error)
