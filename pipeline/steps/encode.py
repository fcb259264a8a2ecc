"""The step that encodes restored pictures and makes the rows of results; without Ray."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from manifests import storage
from manifests.schema import FILES
from manifests.secrets import redacted
from pipeline.arrays import unpack
from pipeline.errors import RowError
from pipeline.output.naming import SUFFIXES, image_path
from pipeline.pictures.encode import encode_picture
from pipeline.pictures.metadata import Metadata
from pipeline.schema import CONSTANT, HIDDEN, OUTCOME, PICTURES
from pipeline.spec.picture import PictureFile
from pipeline.steps.table import errors_of, uris_of, with_errors

EXACT = PictureFile(format="png", bits=16)  # of the picture of a standard deviation


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
