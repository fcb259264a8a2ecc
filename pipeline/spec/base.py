"""What every part of a specification is."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Spec(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


Location = Annotated[str, Field(min_length=1)]  # a path or URI


def exactly_one(spec: Spec, what: str) -> None:
    given = [name for name in type(spec).model_fields if getattr(spec, name) is not None]
    if len(given) != 1:
        options = ", ".join(type(spec).model_fields)
        raise ValueError(f"{what} is exactly one of {options}; given: {', '.join(given) or 'none'}")
