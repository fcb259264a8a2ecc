"""``diffpir report``: the page in a file, with the full pictures beside it."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from jobs.report.contents import Contents
from jobs.report.full import Full
from jobs.report.gallery import Gallery
from jobs.report.page import render
from jobs.report.pairs import Pairs
from manifests import storage
from pipeline.errors import PipelineError


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        bytes: of the page.
        rows: that it shows.
        folder: of the full pictures; empty where there are none.
    """

    bytes: int
    rows: int
    folder: str


def write_report(
    outputs: Sequence[str],
    file: str,
    *,
    limit: int,
    full: Full = Full.beside,
    allow_code: Collection[str] = (),
) -> Written:
    """Write the page of a run, or of several over the same images.

    Args:
        outputs: folders or URIs of jobs; the others are compared with the first.
        file: path or URI of the page, ``.html``.
        limit: rows that are shown with their pictures.
        full: where the page finds pictures that are larger than their previews.
        allow_code: modules and packages that a benchmark's task may import.

    Raises:
        PipelineError: no results there, no id in common, another kind of file, a part is damaged.
        StorageError: an output cannot be read, or the page not be written.
    """
    stem, suffix = os.path.splitext(file)
    if suffix.lower() not in (".html", ".htm"):
        raise PipelineError(f"{storage.shown(file)}: a report is an .html file")
    folder, used = f"{stem}_files", False
    link = quote(folder.rpartition("/")[2])

    def store(name: str, data: bytes) -> str:
        nonlocal used
        used = True
        storage.write_bytes(storage.join(folder, name), data)
        return f"{link}/{name}"

    contents: Contents | Pairs
    if len(outputs) > 1:
        contents = Pairs(outputs, limit, allow_code)
    else:
        contents = Contents(outputs[0], limit, allow_code)
    if not contents.rows:
        raise PipelineError(f"{storage.shown(outputs[0])} holds no results yet")
    payload = contents.payload(Gallery(min(limit, contents.rows), full, store))
    page = render(payload).encode()
    storage.write_bytes(file, page)
    return Written(len(page), len(payload["rows"]), folder if used else "")
