"""Manifests of WebDataset tar files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa

from manifests import storage
from manifests.expand import relative
from manifests.limits import Limit
from manifests.sources.ahead import ahead
from manifests.sources.base import Batch, fitted
from manifests.sources.columns import renamed_table
from manifests.sources.tar_rows import read_tar
from manifests.spool import Spool


class TarSource:
    """Rows of tar files, of which only headers and small members are read.

    Args:
        name: what messages call it.
        base: folder that relative paths of its rows start from.
        files: paths or URIs, in their order.
        renamed: the manifest's names of columns -> the files'.
        max_bytes: that rows may take (:func:`manifests.read.read_manifest`).

    Raises:
        ManifestError: a file cannot be read, or is no tar file with pictures.
    """

    def __init__(
        self,
        name: str,
        base: str,
        files: Sequence[str],
        renamed: Mapping[str, str],
        max_bytes: int | None,
    ):
        self.name, self.base, self.files = name, base, list(files)
        self.notes: list[str] = []
        self.holds_pictures = True
        self._tables = Spool(name)
        schemas: dict[pa.Schema, None] = {}
        without: list[str] = []
        taken = 0

        def index(file: str) -> pa.Table:
            limit = Limit.streamed(storage.shown(file), storage.size_of(file), max_bytes)
            return read_tar(file, storage.shown(file), relative(base, file), limit, without.extend)

        for table in ahead(index, self.files):
            table = renamed_table(table, name, renamed) if renamed else table
            taken += table.nbytes
            if max_bytes is not None:
                Limit(name, max_bytes).check(taken)
            schemas[table.schema] = None
            self._tables.add(table)
        self.schema = _unified(list(schemas))
        if without:
            self.notes.append(f"{name}: {len(without)} samples without a picture are left out")

    def batches(self) -> Iterator[Batch]:
        for table in self._tables:
            texts = [
                field.with_type(pa.string())
                for field in self.schema
                if field.type == pa.string() and field.name in table.column_names
            ]
            for field in texts:
                place = table.column_names.index(field.name)
                column = table[field.name].cast(pa.string())
                table = table.set_column(place, field, column)
            yield Batch(fitted(table, self.schema))


def _unified(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """All columns; as text where the types of one do not fit together."""
    kinds: dict[str, pa.DataType] = {}
    for schema in schemas:
        for field in schema:
            known = kinds.setdefault(field.name, field.type)
            try:
                both = [pa.schema([(field.name, kind)]) for kind in (known, field.type)]
                merged = pa.unify_schemas(both, promote_options="permissive")
                kinds[field.name] = merged.field(0).type
            except pa.ArrowException:
                kinds[field.name] = pa.string()
    return pa.schema(kinds.items())
