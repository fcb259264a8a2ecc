"""Cards as a page holds them: with previews inside it, and links to the full pictures."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from jobs.report.cards import Card, Shown
from jobs.report.embed import data_uri, png, preview
from jobs.report.full import Full

PAGE_BYTES = 7_500_000  # of all previews; base64 makes 10 MB of them
LEAST_BYTES = 4_000  # of a preview: a page of very many rows grows
FULL_BYTES = 1_000_000_000  # of the files beside a page
ENCODERS = 4  # threads
AHEAD = 8  # cards that are read before they are encoded


class Gallery:
    """Makes plain values of cards, for a page of about so many rows.

    Args:
        rows: that the page is to have.
        full: what becomes of pictures that a preview does not hold exactly.
        store: with ``Full.beside``, keeps a picture's file by its name and returns its URL.

    Attributes:
        left_out: full pictures that were not stored, for want of room.
    """

    def __init__(
        self,
        rows: int,
        full: Full = Full.none,
        store: Callable[[str, bytes], str] = lambda name, data: name,
    ):
        self.row_bytes, self.full, self.store = PAGE_BYTES // max(1, rows), full, store
        self.stored = self.left_out = 0

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
        budget = max(self.row_bytes // max(1, len(card.pictures)), LEAST_BYTES)
        return {
            "key": name,
            "id": card.id,
            "values": list(card.values.values()),
            "caption": card.caption,
            "warnings": list(card.warnings),
            "error": card.error,
            "note": card.note,
            "pictures": [self._picture(name, shown, budget) for shown in card.pictures],
        }

    def _picture(self, name: str, shown: Shown, budget: int) -> dict[str, Any]:
        small, full = preview(shown.picture, budget), None
        if not small.exact and self.full == Full.embed:
            full = data_uri(png(shown.picture), "image/png")
        elif not small.exact and self.full == Full.beside:
            full = self._stored(f"{name}-{shown.key}.png", png(shown.picture))
        return {
            "key": shown.key,
            "label": shown.label,
            "src": data_uri(small.data, "image/webp"),
            "width": shown.picture.width,
            "height": shown.picture.height,
            "full": full,
        }

    def _stored(self, name: str, data: bytes) -> str | None:
        self.stored += len(data)
        if self.stored > FULL_BYTES:
            self.left_out += 1
            return None
        return self.store(name, data)
