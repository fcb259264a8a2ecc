"""The step that fetches and decodes the files of rows; it knows nothing of Ray."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pyarrow as pa

from manifests import storage
from manifests.errors import StorageError
from manifests.files import Cells, read_cells, read_file
from manifests.schema import is_parametric, row_fault
from manifests.storage import FetchPolicy
from pipeline.arrays import pack
from pipeline.errors import RowError
from pipeline.fence.decoders import (
    decode_image,
    decode_kernel,
    decode_mask,
    decode_noise_map,
    decode_picture,
    read_jpeg,
)
from pipeline.pictures.jpeg_array import to_array
from pipeline.pictures.pixel_mask import PixelMask
from pipeline.schema import IMAGE_METADATA
from pipeline.spec.fetch import Fetch
from pipeline.spec.job import JobSpec
from pipeline.steps.table import INPUTS, errors_of, known_columns, with_errors

FETCH_THREADS = 16  # per task: fetching waits for storage, not for the CPU
BYTES_PER_PIXEL = 8  # of the largest uncompressed file, RGBA of 16 bits ...
HEADER_BYTES = 1 << 20  # ... and what it may have beside its pixels
DECODERS = {
    "reference": decode_image,
    "mask": decode_mask,
    "kernel": decode_kernel,
    "noise_map": decode_noise_map,
}


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
