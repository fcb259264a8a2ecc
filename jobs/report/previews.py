"""Cards as a page holds them: with previews inside it, and links to the full pictures."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from PIL import Image

from jobs.report.cards import Card, Shown
from jobs.report.embed import data_uri, preview

PAGE_BYTES = 7_500_000  # of all previews of a page; base64 makes 10 MB of them
LEAST_BYTES = 4_000  # of a preview: a page of very many rows grows
ENCODERS = 4  # threads
AHEAD = 8  # cards that are read before they are encoded

FullUrl = Callable[[str, Image.Image], str | None]


class Gallery:
    """Makes plain values of cards, for a page of about so many rows.

    Args:
        rows: that the page is to have.
        page_bytes: of all previews together.
        full: gives the URL of a picture that a preview does not hold exactly, by a name for its
            file; None where there is none.
    """

    def __init__(
        self,
        rows: int,
        full: FullUrl = lambda name, picture: None,
        page_bytes: int = PAGE_BYTES,
    ):
        self.row_bytes, self.full = page_bytes // max(1, rows), full

    def plain(self, cards: Iterable[tuple[str, Card]]) -> Iterator[dict[str, Any]]:
        """The cards in their order as JSON holds them; each comes with a name for its files."""
        waiting: deque[Future] = deque()
        with ThreadPoolExecutor(ENCODERS) as pool:
            for name, card in cards:
                waiting.append(pool.submit(self._plain, name, card))
                if len(waiting) > AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _plain(self, name: str, card: Card) -> dict[str, Any]:
        count = len(card.pictures) + 2 * len(card.steps)
        budget = max(self.row_bytes // max(1, count), LEAST_BYTES)
        return {
            "key": name,
            "id": card.id,
            "values": list(card.values.values()),
            "caption": card.caption,
            "warnings": list(card.warnings),
            "error": card.error,
            "note": card.note,
            "pictures": [self._picture(name, shown, budget) for shown in card.pictures],
            "steps": [
                {
                    "label": label,
                    "before": self._picture(name, before, budget),
                    "after": after and self._picture(name, after, budget),
                }
                for label, before, after in card.steps
            ],
        }

    def _picture(self, name: str, shown: Shown, budget: int) -> dict[str, Any]:
        small = preview(shown.picture, budget)
        name = f"{name}-{shown.key}.png"
        return {
            "key": shown.key,
            "label": shown.label,
            "src": data_uri(small.data, "image/webp"),
            "width": shown.picture.width,
            "height": shown.picture.height,
            "full": None if small.exact else self.full(name, shown.picture),
        }
