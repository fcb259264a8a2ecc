"""``diffpir report``: the page in a file, with the full pictures beside it."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from PIL import Image

from jobs.report.contents import Contents
from jobs.report.embed import data_uri, png
from jobs.report.full import Full
from jobs.report.page import render
from jobs.report.pairs import Pairs
from jobs.report.previews import Gallery
from manifests import storage
from pipeline.errors import PipelineError

FULL_BYTES = 1_000_000_000  # of the files beside a page


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
    files = _FullPictures(full, f"{stem}_files")
    contents = contents_of(outputs, limit, allow_code)
    payload = contents.payload(Gallery(min(limit, contents.rows), files.url))
    page = render(payload).encode()
    storage.write_bytes(file, page)
    return Written(len(page), len(payload["rows"]), files.folder if files.bytes else "")


def contents_of(
    outputs: Sequence[str], limit: int, allow_code: Collection[str]
) -> Contents | Pairs:
    """What the page of these outputs shows; the arguments are those of :func:`write_report`.

    Raises:
        PipelineError: no results there, no id in common, or code that is not allowed.
        StorageError: an output cannot be read.
    """
    if len(outputs) > 1:
        return Pairs(outputs, limit, allow_code)
    contents = Contents(outputs[0], limit, allow_code)
    if not contents.rows:
        raise PipelineError(f"{storage.shown(outputs[0])} holds no results yet")
    return contents


class _FullPictures:
    """Puts full pictures where a page finds them; up to ``FULL_BYTES`` beside it.

    Args:
        full: where.
        folder: beside the page, for ``Full.beside``.
    """

    def __init__(self, full: Full, folder: str):
        self.full, self.folder, self.bytes = full, folder, 0
        self.link = quote(folder.rpartition("/")[2])

    def url(self, name: str, picture: Image.Image) -> str | None:
        if self.full == Full.none or self.bytes > FULL_BYTES:
            return None
        data = png(picture)
        if self.full == Full.embed:
            return data_uri(data, "image/png")
        self.bytes += len(data)
        storage.write_bytes(storage.join(self.folder, name), data)
        return f"{self.link}/{name}"
