"""``diffpir sheet``: what was measured, what was restored, and the reference where there is one."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator, Sequence

import pyarrow as pa
from PIL import Image

from jobs.drawing import Cell, Row, contact_sheet
from jobs.results import first_rows
from jobs.thumbnails import brightest_at, detail, fitted, liveliest, rgb, rgb_of_tensor, same_shape
from manifests import storage
from manifests.expand import root_of
from manifests.schema import FILES
from pipeline.arrays import unpack
from pipeline.errors import PipelineError, RowError
from pipeline.fence.decoders import decode_picture
from pipeline.output.layout import Layout
from pipeline.output.plan import read_shard
from pipeline.output.record import read_record, spec_of
from pipeline.output.run_folder import RunFolder
from pipeline.pictures.values import Values
from pipeline.problem import build_problem, files_of
from pipeline.spec.job import JobSpec
from pipeline.steps import Load, errors_of, known_columns
from pipeline.tasks.assets import Assets
from pipeline.tasks.row import Inputs, own
from pipeline.users_code import check_allowed

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
    benchmark = spec.mode == "benchmark"
    channels = record.identity.get("prior_channels", 3)
    if benchmark:  # its measurements are made again, by the task's operator
        check_allowed(spec, allow_code)
    # The picture that a user gave is what was measured, whatever mask and kernel came with it.
    files = files_of(spec) if benchmark else ["image", "reference"]
    base = root_of(spec.manifest)
    for part, results in first_rows(output, COLUMNS, limit):
        planned = read_shard(record.shards[part.shard], layout).slice(0, len(results))
        names = tuple(name for name in files if name in planned.column_names)
        load = Load.of(spec, base, names, beside=not benchmark, channels=channels)
        kernels = [planned["kernel"]] if "kernel" in planned.column_names else []
        assets = Assets.of(spec.task.all_assets(spec.mode, kernels)) if benchmark else Assets()
        for i, result in enumerate(results.to_pylist()):
            row = pa.chunked_array(planned.slice(i, 1).to_struct_array())
            yield _row(result, row, load, spec, assets, side, channels)


def _row(
    result: dict,
    planned: pa.ChunkedArray,
    load: Load,
    spec: JobSpec,
    assets: Assets,
    side: int,
    channels: int,
) -> Row:
    (row,) = known_columns(planned)
    title = f"{result['id']}: {', '.join(_facts(result, row, spec))}"
    if result["status"] != "ok":
        return Row(title, words=result["error"])
    try:
        picture = decode_picture(
            result["restored"]["bytes"],
            max_pixels=spec.max_pixels,
            channels=channels,
            numbers=spec.picture.bits == 32,
        )
    except RowError as e:
        return Row(title, words=f"restored: {e}")
    pixels = Values.of(spec).eight_bits(picture.pixels)
    restored, words = rgb(pixels, picture.alpha), ""
    try:
        measured, reference = _given(planned, load, spec, assets, channels)
    except RowError as e:
        measured, reference, words = None, None, str(e)
    captions = {"measured": "measured", "restored": "restored", "reference": "reference"}
    if result["psnr"] is not None:
        captions["measured"] += f" (baseline {result['baseline_psnr']:.1f} dB)"
        captions["restored"] += f", {result['psnr']:.1f} dB"
    found = {"measured": measured, "restored": restored, "reference": reference}
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
    return Row(title, lines, words)


def _facts(result: dict, row: dict, spec: JobSpec) -> Iterator[str]:
    """The task, and what of it was estimated; ``row`` is the manifest's."""
    yield from spec.task.caption(row, result)
    if result["noise_level"]:
        estimated = own(row, "noise_level", spec.task.noise_level) == "auto"
        words = f"noise {result['noise_level']:.3g}"
        if model := result["noise"]:
            words += f" {model}".replace('"', "")
            estimated = "auto" in (own(row, "noise", None) or str(spec.task.noise))
        yield words + (" (estimated)" if estimated else "")


def _given(
    planned: pa.ChunkedArray, load: Load, spec: JobSpec, assets: Assets, channels: int
) -> tuple[Image.Image | None, Image.Image | None]:
    """A row's measurement, as it was given or as the benchmark made it, and its reference."""
    loaded = load(pa.table({"row": planned, "error": [""], "error_kind": [""]}))
    if (error := errors_of(loaded)[0])[0]:
        raise RowError(*error)
    arrays = {name: unpack(loaded[name])[0] for name in FILES}
    image, reference = arrays.pop("image"), arrays["reference"]
    assert image is not None  # a row without one has an error
    if spec.mode == "restore":
        alpha = unpack(loaded["alpha"])[0]
        read = Values.of(spec).as_eight_bits
        return rgb(read(image), alpha), None if reference is None else rgb(read(reference))
    inputs = Inputs(image, **arrays)
    problem = build_problem(known_columns(planned)[0], inputs, spec, assets, channels)
    assert problem.reference is not None  # a benchmark's is the image that it degraded
    y = problem.y if problem.colours is None else problem.colours
    return (
        rgb_of_tensor(problem.peak * y, channels),
        rgb_of_tensor(problem.reference, channels),
    )
