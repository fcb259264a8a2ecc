"""What every part of a specification is."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Any, ClassVar

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PlainSerializer,
    SerializationInfo,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from manifests.uris import absolute

MAX_TEXT = 1000  # characters of a value that is written out
BUILTIN = "builtin"  # the prior that comes with the package, where a checkpoint is named
DECODE_SECONDS = 60.0  # for one file: ten times what a picture of 100 megapixels takes
ABSOLUTE = {"absolute": True}  # context of a dump that is read in other folders

TEXT: Mapping[str, Any] = {"type": "string", "minLength": 1}  # as JSON Schema

Seconds = Annotated[float, Field(gt=0, le=86400)]


class Spec(BaseModel):
    """A part of a job: frozen, and without unknown keys.

    Attributes:
        short_form: JSON Schema of what may stand in a job file for the keys of this part.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    short_form: ClassVar[Mapping[str, Any] | None] = None

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        schema = handler(core_schema)
        return {"anyOf": [dict(cls.short_form), schema]} if cls.short_form else schema


def _as_asked(location: str, info: SerializationInfo) -> str:
    return absolute(location) if info.context == ABSOLUTE else location


# A Python object of the user's own: ``module:factory``.
ImportPath = Annotated[
    str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$", examples=["my.module:make"])
]

# A path or URI.
Location = Annotated[str, Field(min_length=1), PlainSerializer(_as_asked)]


def exactly_one(spec: Spec, what: str, beside: Collection[str] = ()) -> None:
    """Raise ValueError unless one field alone is given; those ``beside`` it do not count."""
    names = [name for name in type(spec).model_fields if name not in beside]
    given = [name for name in names if getattr(spec, name) is not None]
    if len(given) != 1:
        options = ", ".join(names)
        raise ValueError(f"{what} is exactly one of {options}; given: {', '.join(given) or 'none'}")


class _PlainLoader(yaml.SafeLoader):
    """YAML without what makes a text stand for more than it says."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        if getattr(event, "anchor", None) is not None:  # an alias has one too
            raise yaml.YAMLError("an anchor or an alias")
        return super().compose_node(parent, index)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
            raise yaml.YAMLError("a merge key")
        super().flatten_mapping(node)


def parse_text(text: str, expected: str) -> dict[str, Any]:
    """``{gaussian: {std: 3}}`` as plain values, from YAML or JSON.

    Anchors, aliases and merge keys are refused: a few hundred characters of them can stand for
    billions of values.

    Raises:
        ValueError: it is neither; says what is ``expected``.
    """
    try:
        value = yaml.load(text, _PlainLoader) if len(text) <= MAX_TEXT else None
    except Exception:  # the parser's own errors, dates that are none, too deep a nesting
        value = None
    if not isinstance(value, dict):
        raise ValueError(f"expected {expected}, in YAML or JSON")
    return value
