"""``diffpir show``: one row of an output in full, and its pictures as files."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow.compute as pc

from jobs.export.values import plain_rows
from jobs.report.cards import Cards
from jobs.report.embed import png
from jobs.results import READERS, opened, read_columns
from manifests import storage
from pipeline.errors import PipelineError
from pipeline.output.parts import Part
from pipeline.output.run_folder import RunFolder
from pipeline.schema import FEATURES, PICTURES


def show_row(
    output: str, image_id: str, folder: str, allow_code: Collection[str] = ()
) -> tuple[dict[str, Any], list[str], str]:
    """Read a row, and write its pictures.

    Args:
        output: folder or URI of a job.
        image_id: of the row.
        folder: path or URI that gets ``restored.png`` (as it is stored), ``measured.png``,
            ``reference.png``, ``uncertainty.png``, and of the steps that were saved
            ``step-0999.png`` before the data step and ``step-0999-data.png`` after it.
        allow_code: modules and packages that a benchmark's task may import.

    Returns:
        its columns but for pictures and features; the files; and why one is missing, or nothing.

    Raises:
        PipelineError: no such row, no such output, or a part is damaged.
        StorageError: something cannot be read or written.
    """
    run = RunFolder.open(output)
    part, place = _find(run, image_id)
    uri = run.layout.part(part.name)
    schema = opened(uri).schema_arrow
    hidden = {*PICTURES.names, *FEATURES}
    names = [name for name in schema.names if name not in hidden]
    (values,) = plain_rows(read_columns(uri, names).slice(place, 1))
    (card,) = Cards(run, schema, allow_code, {}).read(part, [place])
    files = {}
    if restored := read_columns(uri, ["restored"])["restored"][place].as_py():
        files[f"restored.{restored['path'].rpartition('.')[2]}"] = restored["bytes"]
    for shown in card.pictures:
        if shown.key != "restored":
            files[f"{shown.key}.png"] = png(shown.picture)
    for _, before, after in card.steps:
        for step in filter(None, (before, after)):
            files[f"{step.key}.png"] = png(step.picture)
    written = [storage.join(folder, name) for name in files]
    for place_of_file, data in zip(written, files.values(), strict=True):
        storage.write_bytes(place_of_file, data)
    return values, written, card.note


def _find(run: RunFolder, image_id: str) -> tuple[Part, int]:
    """The part that has the row, and its place there; only ids are read."""

    def look(part: Part) -> int:
        return pc.index(read_columns(run.layout.part(part.name), ["id"])["id"], image_id).as_py()

    with ThreadPoolExecutor(READERS) as pool:
        parts = run.parts
        for start in range(0, len(parts), READERS):
            wave = parts[start : start + READERS]
            for part, place in zip(wave, pool.map(look, wave), strict=True):
                if place >= 0:
                    return part, place
    raise PipelineError(f"{storage.shown(run.layout.output)} has no row with the id {image_id!r}")
