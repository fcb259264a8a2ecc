"""What is wrong with a specification, in words for its author."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from pipeline.spec.job import JobSpec
from pipeline.tasks import TASKS
from pipeline.tasks.task import Task

# Faults of a value that is not of the kind wanted at all: pydantic would speak of classes.
OTHER_KIND = (
    "model_type", "model_attributes_type", "dict_type", "tuple_type", "too_short",
    "string_pattern_mismatch",
)  # fmt: skip


def faults_of(error: ValidationError, content: dict[str, Any]) -> Iterator[str]:
    """A line for each fault of a job that was given as plain values: its key, and what is wrong."""
    seen = set()
    faults = error.errors()
    within = {fault["loc"][:-1] for fault in faults}
    for fault in faults:
        # Union members stand in the path by their tag or type; the file has no such key.
        path = [str(p) for p in fault["loc"]]
        shown = ".".join(p for p in path if not _is_tag(p)) or "job"
        if fault["type"] == "too_short" and fault["loc"] in within:  # wrong items are not counted
            continue
        if shown in seen:  # the same value, refused by another member of a union
            continue
        seen.add(shown)
        if fault["type"] == "extra_forbidden":
            known = list(_place(path[:-1], content)[0].model_fields)
            near = difflib.get_close_matches(path[-1], known, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else f"; known: {', '.join(known)}"
            yield f"  {shown}: unknown key{hint}"
        elif fault["type"] == "missing":
            yield f"  {shown}: required"
        elif fault["type"] == "unknown_kind":
            yield f"  {shown}: {fault['msg']}"
        else:
            given = fault.get("input")
            got = f", got {_short(given)}" if isinstance(given, str | int | float | bool) else ""
            got = ", got nothing" if given is None else got
            message = fault["msg"].removeprefix("Value error, ")
            field = _place(path, content)[1]
            if field and field.examples and fault["type"] in OTHER_KIND:
                message = f"expected a value such as {field.examples[0]}"
            # What several fields make together is a fault of the job, and says its field itself.
            says_field = fault["type"] == "value_error" and not path
            yield f"  {message}" if says_field else f"  {shown}: {message}{got}"


def _short(value: str | int | float | bool) -> str:
    """A value for a message. Python refuses to write out numbers of thousands of digits."""
    if isinstance(value, int) and value.bit_length() > 64:
        return f"a whole number of {value.bit_length()} bits"
    return repr(value)


def _is_tag(part: str) -> bool:
    return part in ("float", "constrained-float", "shake", "stroke") or "[" in part


def _place(path: list[str], content: dict[str, Any]) -> tuple[type[BaseModel], FieldInfo | None]:
    """The model that a path of keys and union tags leads into, and the last field on the way."""
    models: list[type[BaseModel]] = [JobSpec]
    field: FieldInfo | None = None
    value: Any = content
    for part in path:
        found = models[0].model_fields.get(part) if len(models) == 1 else None
        if found:
            field = found
            value = value.get(part) if isinstance(value, dict) else None
            models = _models(field.annotation, value)
        elif members := [model for model in models if model.__name__.lower() == part]:
            models = members
    return models[0] if models else JobSpec, field


def _models(annotation: Any, value: Any) -> list[type[BaseModel]]:
    """The models that a field may hold; of tasks, that of the kind that the value names."""
    if annotation is Task and isinstance(value, dict):
        return [TASKS.get(value.get("kind", ""), Task)]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for arg in get_args(annotation) for model in _models(arg, value)]
