"""What a job's rows are read from: a manifest, or the results of another job."""

from __future__ import annotations

import pyarrow as pa

from manifests import storage
from manifests.expand import root_of
from manifests.read import FORMATS, open_source
from manifests.sources.base import Source
from manifests.sources.parquet import ParquetSource
from pipeline.errors import PipelineError
from pipeline.output.layout import Layout
from pipeline.output.run_folder import RunFolder
from pipeline.schema import REPLACED, RESERVED
from pipeline.spec.job import JobSpec

# Of a result, what was said of the file that was restored, and is not true of the new one.
OUTDATED = frozenset({"image", "mask", "kernel", "noise_map", "bytes", "etag"})
SIZES = frozenset({"width", "height"})


def source_of(spec: JobSpec) -> Source:
    """The rows of a job.

    Raises:
        ManifestError: the manifest cannot be read.
        PipelineError: it is the output of a job that is not finished.
    """
    is_file = spec.manifest.lower().endswith(FORMATS)
    if is_file or not storage.exists(Layout(storage.absolute(spec.manifest)).run):
        return open_source(spec.manifest, renamed=spec.columns, max_bytes=spec.max_manifest_bytes)
    folder = RunFolder.open(spec.manifest)
    if missing := len(folder.shards) - len(folder.parts):
        raise PipelineError(
            f"manifest: {storage.shown(spec.manifest)} is the output of a job of whose "
            f"{len(folder.shards)} shards {missing} are not done; finish it first"
        )
    return ResultsSource(folder, spec)


class ResultsSource(ParquetSource):
    """The rows that another job restored: its pictures, ids, references and the user's columns."""

    def __init__(self, folder: RunFolder, spec: JobSpec):
        self._first_base = root_of(folder.record.spec["manifest"])
        super().__init__(
            storage.shown(spec.manifest),
            root_of(spec.manifest),
            [folder.layout.part(part.name) for part in folder.parts],
            {"image": "restored", **spec.columns},
            spec.max_manifest_bytes,
            dropped=RESERVED | REPLACED - SIZES | OUTDATED,
            kept=("status", "ok"),
        )

    def _adjusted(self, rows: pa.Table) -> pa.Table:
        """References are relative to where the first job's manifest lies."""
        if "reference" not in rows.column_names:
            return rows
        references = [
            name and storage.resolve(self._first_base, name)
            for name in rows["reference"].to_pylist()
        ]
        place = rows.column_names.index("reference")
        return rows.set_column(place, "reference", pa.array(references, pa.string()))
