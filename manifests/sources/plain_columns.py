"""Columns of plain types from values of Python, without guesses that change what was written."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pyarrow as pa

from manifests.schema import EXACT


def plain_column(values: Sequence[object]) -> pa.Array:
    """Booleans, whole numbers (int64), fractions (float64), or else text; all may be null.

    Values of several kinds are text, in which those that were none stand as JSON. So do whole
    numbers that int64 cannot hold, and that float64 would change among fractions.
    """
    kinds = {type(value) for value in values if value is not None}
    if not kinds:
        return pa.nulls(len(values))
    if kinds == {bool}:
        return pa.array(values, pa.bool_())
    if kinds <= {int, float}:
        numbers = [v for v in values if isinstance(v, int)]
        lowest, highest = min(numbers, default=0), max(numbers, default=0)
        if float not in kinds and lowest >= -(2**63) and highest < 2**63:
            return pa.array(values, pa.int64())
        if float in kinds and lowest >= -EXACT and highest <= EXACT:
            return pa.array(values, pa.float64())
    return pa.array([_text(value) for value in values], pa.string())


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)
