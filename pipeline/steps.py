"""The CPU steps of the flow: each maps a table of rows to a table, and knows nothing of Ray.

A row whose ``error`` is not empty is only passed on.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from manifests import storage
from manifests.errors import StorageError
from manifests.files import Cells, read_cells, read_file
from manifests.schema import FILES, LABEL, TYPES, holds_labels, is_parametric, row_fault
from manifests.secrets import redacted
from manifests.storage import FetchPolicy
from pipeline.arrays import pack, unpack
from pipeline.errors import RowError
from pipeline.fence.decoders import (
    decode_image,
    decode_kernel,
    decode_mask,
    decode_noise_map,
    decode_picture,
    read_jpeg,
)
from pipeline.output.naming import SUFFIXES, image_path
from pipeline.pictures.encode import encode_picture
from pipeline.pictures.jpeg_array import to_array
from pipeline.pictures.metadata import Metadata
from pipeline.pictures.pixel_mask import PixelMask
from pipeline.schema import CONSTANT, HIDDEN, IMAGE_METADATA, OUTCOME, PICTURES
from pipeline.spec.fetch import Fetch
from pipeline.spec.job import JobSpec
from pipeline.spec.picture import PictureFile

INPUTS = (*FILES, "stored")  # the columns of what a row's problem is posed from
EXACT = PictureFile(format="png", bits=16)  # of the picture of a standard deviation
FETCH_THREADS = 16  # per task: fetching waits for storage, not for the CPU
BYTES_PER_PIXEL = 8  # of the largest uncompressed file, RGBA of 16 bits ...
HEADER_BYTES = 1 << 20  # ... and what it may have beside its pixels
# What a manifest may say of the image file's version, in columns of these types.
VERSION = {"bytes": pa.types.is_integer, "etag": pa.types.is_string}
OTHERS = {**VERSION, LABEL: holds_labels}
DECODERS = {
    "reference": decode_image,
    "mask": decode_mask,
    "kernel": decode_kernel,
    "noise_map": decode_noise_map,
}


def known_columns(rows: pa.ChunkedArray) -> list[dict]:
    """The columns that the flow reads, as Python values; the user's own may hold anything."""
    table = pa.Table.from_struct_array(rows)
    known = [
        field.name
        for field in table.schema
        if field.name in TYPES or (field.name in OTHERS and OTHERS[field.name](field.type))
    ]
    return table.select(known).to_pylist()


def uris_of(rows: pa.Table) -> list[list[str]]:
    """What each row of a manifest names files by."""
    names = [name for name in FILES if name in rows.column_names]
    return [[uri for uri in row.values() if uri] for row in rows.select(names).to_pylist()]


def with_errors(
    table: pa.Table, errors: list[tuple[str, str]], job: Collection[str] = ()
) -> pa.Table:
    """The table with these errors and error kinds; ``("", "")`` for none.

    Args:
        job: the URIs of the job that an error may tell of, beside those of its row.
    """
    if any(text for text, _ in errors):
        uris = uris_of(pa.Table.from_struct_array(table["row"]))
        errors = [
            (redacted(text, [*named, *job]), kind)
            for (text, kind), named in zip(errors, uris, strict=True)
        ]
    for i, name in enumerate(("error", "error_kind")):
        column = pa.array([error[i] for error in errors], pa.string())
        table = table.set_column(table.column_names.index(name), name, column)
    return table


def errors_of(table: pa.Table) -> list[tuple[str, str]]:
    """Error and error kind of each row."""
    return list(zip(table["error"].to_pylist(), table["error_kind"].to_pylist(), strict=True))


class Load:
    """``row`` -> + its files as arrays, or the error why one cannot be had.

    Args:
        base: folder or URI that relative paths of the manifest start from.
        files: the columns whose files the job reads.
        allowed: schemes (:func:`manifests.uris.scheme_of`) that a row's files may have.
        max_pixels: of an image.
        channels: that the prior takes.
        numbers: the job says which numbers of the images are black and white.
        beside: what an image has beside its colours is for the result too; otherwise the columns
            ``alpha`` and ``metadata`` are empty.
        stored: an image is to be read as its JPEG file stores it, too (the column ``stored``), and
            its colours are left as they are there.
        mask: what tells an image's hidden pixels, of rows that name no file for a mask.
        fetch: limits on fetching one file.
        allowed_hosts: that files may come from although their addresses are not public.
        decode_seconds: that decoding one file may take.
    """

    def __init__(
        self,
        base: str,
        files: tuple[str, ...],
        allowed: frozenset[str],
        max_pixels: int,
        beside: bool = False,
        *,
        channels: int = 3,
        numbers: bool = False,
        stored: bool = False,
        mask: PixelMask | None = None,
        fetch: Fetch,
        allowed_hosts: tuple[str, ...] = (),
        decode_seconds: float,
    ):
        self.base, self.files, self.allowed, self.max_pixels = base, files, allowed, max_pixels
        self.beside, self.stored, self.mask = beside, stored, mask
        self.kind = {"channels": channels, "numbers": numbers}
        self.fetching, self.allowed_hosts = fetch, allowed_hosts
        self.decode_seconds = decode_seconds

    @classmethod
    def of(
        cls, spec: JobSpec, base: str, files: tuple[str, ...], *, beside: bool, channels: int
    ) -> Load:
        """As a job wants it, whose prior takes so many channels."""
        return cls(
            base,
            files,
            spec.schemes,
            spec.max_pixels,
            beside,
            channels=channels,
            numbers=spec.range is not None,
            stored=spec.task.reads_stored and spec.mode == "restore",
            mask=spec.task.pixel_mask,
            fetch=spec.fetch,
            allowed_hosts=spec.allowed_hosts,
            decode_seconds=spec.decode_seconds,
        )

    def __call__(self, table: pa.Table) -> pa.Table:
        rows, errors = known_columns(table["row"]), errors_of(table)
        fetched = self.fetch(rows, errors)
        loaded = [self._decode(files, error) for files, error in fetched]
        for name in (*INPUTS, "alpha"):
            table = table.append_column(name, pack([arrays.get(name) for arrays, _ in loaded]))
        metadata = [arrays.get("metadata") for arrays, _ in loaded]
        metadata = [None if m is None else vars(m) for m in metadata]
        table = table.append_column("metadata", pa.array(metadata, IMAGE_METADATA))
        return with_errors(table, [error for _, error in loaded], [self.base])

    def fetch(
        self, rows: Sequence[dict], errors: Sequence[tuple[str, str]]
    ) -> list[tuple[dict[str, bytes], tuple[str, str]]]:
        """The files of rows as they are, by column; none, and an error, where one cannot be had.

        Args:
            rows: of :func:`known_columns`.
            errors: that they have already, with their kinds; ``("", "")`` for none.
        """
        named = (row[name] for row in rows for name in self.files if row.get(name))
        cells = read_cells(named, self.base, self._policy)
        with ThreadPoolExecutor(FETCH_THREADS) as pool:
            return list(pool.map(partial(self._fetch, cells), rows, errors))

    def _fetch(
        self, cells: Cells, row: dict, error: tuple[str, str]
    ) -> tuple[dict[str, bytes], tuple[str, str]]:
        if error[0]:
            return {}, error
        if fault := row_fault(row):
            return {}, (fault, "bad_value")
        files: dict[str, bytes] = {}
        limit = self.max_pixels * BYTES_PER_PIXEL + HEADER_BYTES
        for name in self.files:
            if not row.get(name) or (name == "kernel" and is_parametric(row[name])):
                continue
            try:
                etag = row.get("etag") if name == "image" else None
                content = read_file(
                    row[name], self.base, cells, limit=limit, etag=etag, policy=self._policy
                )
                if content is None:
                    if name == "image":
                        raise RowError(f"there is none: {storage.shown(row[name])}", "not_found")
                    continue
                files[name] = content
                if name == "image":
                    _check_size(len(files[name]), row.get("bytes"))
            except (StorageError, RowError) as e:
                return {}, (f"{name}: {e}", e.kind)
            except Exception as e:
                return {}, (f"{name}: cannot be read ({type(e).__name__}: {e})", "failed")
        return files, ("", "")

    def _policy(self, uri: str) -> FetchPolicy:
        scheme = storage.scheme_of(uri)
        if scheme not in self.allowed:
            raise RowError(
                f"{scheme} is not among the job's allowed_schemes "
                f"({', '.join(sorted(self.allowed))}): {storage.shown(uri)}",
                "scheme_not_allowed",
            )
        return self.fetching.policy(scheme, self.allowed_hosts)

    def _decode(
        self, files: dict[str, bytes], error: tuple[str, str]
    ) -> tuple[dict, tuple[str, str]]:
        arrays: dict = {}
        limits: dict = {"max_pixels": self.max_pixels, "seconds": self.decode_seconds}
        for name, data in files.items():
            try:
                if name == "image":
                    colours, mask = not self.stored, None if "mask" in files else self.mask
                    picture = decode_picture(
                        data, colours=colours, mask=mask, **self.kind, **limits
                    )
                    arrays[name] = picture.pixels
                    if mask:
                        arrays["mask"] = picture.known
                    if self.beside:
                        arrays |= {"alpha": picture.alpha, "metadata": picture.metadata}
                    if self.stored:
                        arrays["stored"] = to_array(read_jpeg(data, **limits))
                else:
                    kind = self.kind if name == "reference" else {}
                    arrays[name] = DECODERS[name](data, **kind, **limits)
            except RowError as e:
                return {}, (f"{name}: {e}", e.kind)
        return arrays, error


def _check_size(found: int, planned: int | None) -> None:
    if planned is not None and found != planned:
        raise RowError(f"the file has {found} bytes, the manifest says {planned}", "changed")


class Encode:
    """Restored pixels -> the result's row: ``restored`` holds a picture's file and its name.

    Args:
        images: folder or URI that receives the files too, or None.
        how: they are written.
        opaque: what was transparent was hidden, and is restored, but in rows with a mask's file.
    """

    def __init__(self, images: str | None, how: PictureFile, *, opaque: bool = False):
        self.images, self.how, self.opaque = images, how, opaque

    def __call__(self, table: pa.Table) -> pa.Table:
        outcome = pa.Table.from_struct_array(table["outcome"])
        rows = pa.Table.from_struct_array(table["row"])
        errors = errors_of(table)
        alphas = unpack(table["alpha"])
        if self.opaque:
            masks = rows["mask"].to_pylist() if "mask" in rows.column_names else [None] * len(rows)
            alphas = [alpha if mask else None for alpha, mask in zip(alphas, masks, strict=True)]
        parts = (
            rows["id"].to_pylist(),
            unpack(table["pixels"]),
            alphas,
            table["metadata"].to_pylist(),
            unpack(table["uncertainty_pixels"]),
            unpack(table["sample_pixels"]),
            unpack(table["step_pixels"]),
            table["step_names"].to_pylist(),
        )
        cells: list[dict] = []
        for i, (image_id, pixels, alpha, metadata, uncertainty, samples, steps, names) in enumerate(
            zip(*parts, strict=True)
        ):
            cells.append(dict.fromkeys(PICTURES.names))
            if errors[i][0] or pixels is None:
                continue
            suffix = SUFFIXES[self.how.format]
            name = image_path(image_id, suffix)
            try:
                data = encode_picture(pixels, self.how, alpha, metadata and Metadata(**metadata))
                if uncertainty is not None:
                    cells[i]["uncertainty_map"] = {
                        "bytes": encode_picture(uncertainty, EXACT),
                        "path": image_path(image_id, SUFFIXES[EXACT.format]),
                    }
                if samples is not None:
                    numbers = map(str, range(len(samples)))
                    cells[i]["samples"] = self._several(image_id, samples, numbers)
                if steps is not None:
                    cells[i]["steps"] = self._several(image_id, steps, names)
            except RowError as e:
                errors[i] = str(e), e.kind
                cells[i] = dict.fromkeys(PICTURES.names)
                continue
            if self.images:
                storage.write_bytes(storage.join(self.images, name), data)
            cells[i]["restored"] = {"bytes": data, "path": name}
        table = with_errors(table, errors)
        failed = pc.not_equal(table["error"], "")
        result = _open(rows.select([n for n in rows.column_names if n not in OUTCOME.names]))
        result = result.append_column("status", pc.if_else(failed, "error", "ok"))
        for name in ("error", "error_kind"):
            result = result.append_column(name, table[name])
        for name in outcome.column_names:
            column = outcome[name]
            if name not in CONSTANT:
                column = pc.if_else(failed, pa.scalar(None, column.type), column)
            if name in rows.column_names:  # a failed row keeps what the manifest said
                column = pc.coalesce(column, rows[name])
            result = result.append_column(name, column)
        for field in PICTURES:
            pictures = pa.array([cell[field.name] for cell in cells], field.type)
            result = result.append_column(field, pictures)
        for name in HIDDEN:
            result = result.append_column(name, table[name])
        return result

    def _several(
        self, image_id: str, pictures: Iterable[np.ndarray], names: Iterable[str]
    ) -> list[dict]:
        """More pictures of a row, named apart."""
        suffix = SUFFIXES[self.how.format]
        return [
            {
                "bytes": encode_picture(picture, self.how),
                "path": image_path(f"{image_id}/{name}", suffix),
            }
            for picture, name in zip(pictures, names, strict=True)
        ]


def _open(rows: pa.Table) -> pa.Table:
    """A manifest's rows as anybody may see them: their files as shown, their texts redacted."""
    uris = uris_of(rows)
    secret = any(uri != storage.shown(uri) for named in uris for uri in named)
    for i, (name, kind) in enumerate(zip(rows.column_names, rows.schema.types, strict=True)):
        if name == "id" or not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            continue
        texts = rows[name].to_pylist()
        if name in FILES:
            texts = [text and storage.shown(text) for text in texts]
        elif secret:
            texts = [
                text and redacted(text, named) for text, named in zip(texts, uris, strict=True)
            ]
        else:
            continue
        rows = rows.set_column(i, name, pa.array(texts, kind))
    return rows
