"""The page of a run inside a notebook."""

from __future__ import annotations

import html
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from jobs.report.page import render
from jobs.report.previews import Gallery
from jobs.report.write import contents_of

PAGE_BYTES = 3_000_000  # of the previews: a notebook's file keeps them


@dataclass(frozen=True)
class Inline:
    """A page that a notebook shows in a frame of its own, where it can reach nothing else.

    Attributes:
        page: as HTML.
        height: of the frame in pixels.
    """

    page: str
    height: int

    @classmethod
    def of(
        cls, outputs: Sequence[str], limit: int, height: int, allow_code: Collection[str]
    ) -> Inline:
        """Of the page of these outputs; raises as :func:`jobs.report.write.contents_of`."""
        contents = contents_of(outputs, limit, allow_code)
        gallery = Gallery(min(limit, contents.rows), page_bytes=PAGE_BYTES)
        return cls(render(contents.payload(gallery)), height)

    def _repr_html_(self) -> str:
        return (
            f'<iframe srcdoc="{html.escape(self.page, quote=True)}" sandbox="allow-scripts" '
            f'title="DiffPIR report" width="100%" height="{int(self.height)}" '
            'style="border: 0"></iframe>'
        )
