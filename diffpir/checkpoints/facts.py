"""What is known of a checkpoint, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

How = Literal["given", "found", "inferred", "assumed"]


@dataclass(frozen=True)
class Fact:
    """One thing that is known of a checkpoint.

    Attributes:
        name: of the thing.
        value: in words.
        how: ``given`` by the user, ``found`` in the file as such, ``inferred`` from the names and
            shapes of its tensors, or ``assumed``, since nothing tells.
        why: in words, where ``how`` does not say all.
    """

    name: str
    value: str
    how: How
    why: str = ""

    @property
    def source(self) -> str:
        return f"{self.how}: {self.why}" if self.why else self.how
