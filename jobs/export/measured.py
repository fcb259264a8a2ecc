"""The measured pictures of rows, read again from the files that the manifest names."""

from __future__ import annotations

import pyarrow as pa

from jobs.export.names import suffix_of
from jobs.export.source import MEASURED, PLANNED, Source
from manifests.expand import root_of
from manifests.secrets import redacted
from pipeline.errors import PipelineError, RowError
from pipeline.fence.decoders import decode_picture
from pipeline.output.naming import image_path
from pipeline.output.record import spec_of
from pipeline.schema import PICTURE
from pipeline.steps.load import Load
from pipeline.steps.table import known_columns

GONE = ("not_found", "changed", "not_a_file", "too_large")  # error kinds: the file is no more


class Measured:
    """Adds the column ``measured`` to rows.

    Files are read under the rules of the job: its base folder, its allowed schemes, its limits.

    Attributes:
        reason: why the first picture that could not be had was not, in words.

    Raises:
        PipelineError: the job was a benchmark, or a column has the name already.
    """

    def __init__(self, source: Source):
        self.spec = spec_of(source.folder.record, source.folder.layout)
        if self.spec.mode == "benchmark":
            raise PipelineError(
                f"{source.shown} is a benchmark's output: the manifest's pictures are the clean "
                "ones, and what was measured was not kept; leave out --with-measured"
            )
        if MEASURED in source.names:
            raise PipelineError(
                f"the results have a column {MEASURED!r} already; leave it out with --columns, or "
                "leave out --with-measured"
            )
        self.base = root_of(self.spec.manifest)
        channels = source.folder.record.prior_channels
        self.load = Load.of(self.spec, self.base, ("image",), beside=False, channels=channels)
        self.reason = ""

    def append(self, table: pa.Table) -> pa.Table:
        """Rows with their measured pictures in place of ``PLANNED``; null where one is gone.

        Raises:
            PipelineError: a picture that was restored cannot be read, but may be there.
        """
        rows = known_columns(table[PLANNED])
        restored = [status == "ok" for status in table["status"].to_pylist()]
        found = self.load.fetch(rows, [("", "")] * len(rows))
        cells = [
            self._cell(row, files.get("image"), error, ok)
            for row, (files, error), ok in zip(rows, found, restored, strict=True)
        ]
        return table.drop_columns([PLANNED]).append_column(MEASURED, pa.array(cells, PICTURE))

    def _cell(
        self, row: dict, data: bytes | None, error: tuple[str, str], restored: bool
    ) -> dict | None:
        text, kind = error
        if data is not None and not restored:
            # The row may have failed since its file is no picture at all. What such a file holds
            # is not to be published.
            try:
                decode_picture(
                    data,
                    max_pixels=self.spec.max_pixels,
                    seconds=self.spec.decode_seconds,
                    **self.load.kind,
                )
            except RowError as e:
                data, text, kind = None, f"image: {e}", e.kind
        if data is None:
            text = redacted(text, [row["image"] or "", self.base])
            if restored and kind not in GONE:
                raise PipelineError(
                    f"measured picture of {row['id']!r}: {text}; export again when it can be read"
                )
            self.reason = self.reason or f"{row['id']!r}: {text}"
            return None
        return {"bytes": data, "path": image_path(row["id"], suffix_of(data, row["image"]))}
