"""The prior of a job: a checkpoint, and what the job says of it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from pipeline.spec.base import BUILTIN, Location, Spec, parse_text

EXAMPLE = "a checkpoint, as a path or such as {path: model.pt, num_heads: 4}"


class Model(Spec):
    """A checkpoint, and what its tensors cannot tell (None: its own words, or the usual values).

    A text that begins with ``{`` is this written out, as options of commands have it.
    """

    path: Location = BUILTIN
    num_head_channels: Annotated[int, Field(ge=1)] | None = None
    num_heads: Annotated[int, Field(ge=1)] | None = None
    use_new_attention_order: bool | None = None
    label: Annotated[int, Field(ge=0)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if isinstance(value, str):
            return parse_text(value, EXAMPLE) if value.startswith("{") else {"path": value}
        return value

    @property
    def options(self) -> dict[str, Any]:
        """What is said of the checkpoint, as :func:`diffpir.networks.checkpoint` takes it."""
        return self.model_dump(exclude={"path", "label"})
