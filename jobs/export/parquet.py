"""Parquet files as Hugging Face's ``datasets`` writes and reads them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.export.files import Files
from jobs.export.journal import Journal
from pipeline.schema import FEATURES, PICTURE

BATCH = 8  # rows after which a page that has its size is ended: a reader of one row fetches a page
_IMAGE = {"_type": "Image"}
# Old and new versions of the library know "Sequence"; only new ones know "List".
_IMAGES = {"_type": "Sequence", "feature": _IMAGE}


class ParquetFiles(Files):
    """The files of an export.

    Args:
        schema: of the exported rows.
        images: the library reads their files; arrays of channels stay bytes.
    """

    data_files = "data/train-*.parquet"

    def __init__(self, schema: pa.Schema, images: bool):
        pictures = {
            field.name: _IMAGE if field.type == PICTURE else _IMAGES
            for field in schema
            if field.type in (PICTURE, pa.list_(PICTURE))
        }
        features = json.dumps({"info": {"features": pictures if images else {}}})
        self.schema = schema.with_metadata({b"huggingface": features})
        # The least and the greatest picture would be stored once more.
        self.plain_leaves = [
            path for path in _leaves(schema) if path.partition(".")[0] not in {*pictures, *FEATURES}
        ]

    def names(self, count: int) -> list[str]:
        return [f"data/train-{i:05d}-of-{count:05d}.parquet" for i in range(count)]

    def encode(self, tables: Iterable[pa.Table], journal: Journal) -> bytes:
        """The content of a file, in which each table is a row group."""
        buffer = io.BytesIO()
        with pq.ParquetWriter(
            buffer,
            self.schema,
            write_page_index=True,
            write_page_checksum=True,
            write_statistics=self.plain_leaves,
            use_dictionary=self.plain_leaves,
            write_batch_size=BATCH,
        ) as writer:
            for table in tables:
                writer.write_table(table.cast(self.schema), row_group_size=max(1, len(table)))
        return buffer.getvalue()


def _leaves(schema: pa.Schema) -> list[str]:
    """The paths of the columns of values, as Parquet names them."""
    buffer = io.BytesIO()
    pq.write_table(schema.empty_table(), buffer)
    columns = pq.ParquetFile(buffer).schema
    return [columns.column(i).path for i in range(len(columns))]
