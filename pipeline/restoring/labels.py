"""The class that an image is restored as, by a class-conditional prior."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from manifests.limits import cut, short
from manifests.schema import LABEL
from pipeline.errors import RowError
from pipeline.tasks.row import own

WHOLE = re.compile(r"\s*\d{1,18}\s*")


@dataclass(frozen=True)
class Labels:
    """Which labels rows may have, and what those have that give none.

    Attributes:
        classes: that the prior knows; 0 for an unconditional one.
        usual: label of rows that give none; None where all must.
    """

    classes: int
    usual: int | None

    def of(self, row: Mapping[str, Any]) -> int | None:
        """The label of a manifest's row; None with an unconditional prior, whatever a row says.

        Raises:
            RowError: ``missing_input``: there is none; ``bad_value``: it is none of the prior's.
        """
        if not self.classes:
            return None
        given = own(dict(row), LABEL, None)
        if given is None or given == "":
            if self.usual is None:
                raise RowError(
                    f"no {LABEL}: neither the row nor the job's model gives one, and this prior "
                    f"needs a class from 0 to {self.classes - 1}",
                    "missing_input",
                )
            return self.usual
        label = _whole(given)
        if label is None or not 0 <= label < self.classes:
            shown = short(given) if isinstance(given, str) else cut(str(given))
            raise RowError(
                f"{LABEL}: expected a whole number from 0 to {self.classes - 1}, a class of this "
                f"prior, got {shown}",
                "bad_value",
            )
        return label


def _whole(value: Any) -> int | None:
    """Of a whole number, also as a fraction's type or a text holds it; else None."""
    if isinstance(value, str):
        return int(value) if WHOLE.fullmatch(value) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if float(value).is_integer() else None
