"""Where a page finds full pictures."""

from __future__ import annotations

from enum import StrEnum


class Full(StrEnum):
    """Where a page finds the pictures that are larger than their previews."""

    beside = "beside"
    embed = "embed"
    none = "none"
