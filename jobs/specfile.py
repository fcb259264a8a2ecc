"""Job files: YAML to a validated specification, with errors a person can act on."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from manifests import storage
from manifests.secrets import redacted, texts_of
from pipeline.errors import PipelineError
from pipeline.spec.base import Spec
from pipeline.spec.job import JobSpec
from pipeline.spec.model import Model
from pipeline.tasks import TASKS
from pipeline.tasks.task import Task

# Faults of a value that is not of the kind wanted at all: pydantic would speak of classes.
OTHER_KIND = (
    "model_type", "model_attributes_type", "dict_type", "tuple_type", "too_short",
    "string_pattern_mismatch",
)  # fmt: skip


class JobFileError(PipelineError):
    """A job specification is wrong; the text has a line for each fault."""


class DuplicateKeyError(Exception):
    """A key of a YAML file stands there twice."""


def load_job(uri: str, watch_ids: Sequence[str] | None = None) -> JobSpec:
    """Read a YAML job file, by path or URI.

    Args:
        uri: of the file.
        watch_ids: in place of its ``sampler.watch_ids``.

    Raises:
        JobFileError: not YAML, or not a job; names the file and each key.
        StorageError: it cannot be read.
    """
    name = storage.shown(uri)
    try:
        content = _parse(storage.read_bytes(uri))
    except DuplicateKeyError as e:
        raise JobFileError(f"{name}: {e}") from None
    except RecursionError:
        raise JobFileError(
            f"{name} is not a job: its values lie too deep in one another; expected keys and "
            "values (manifest: ..., output: ...)"
        ) from None
    except (yaml.YAMLError, ValueError) as e:  # ValueError: text that is no UTF-8, or no date
        for mark in (getattr(e, "context_mark", None), getattr(e, "problem_mark", None)):
            if mark:
                mark.buffer = None  # a line of the file may hold a secret
        raise JobFileError(f"{name} is not YAML: {e}") from None
    if not isinstance(content, dict):
        raise JobFileError(f"{name} must hold keys and values (manifest: ..., output: ...)")
    if watch_ids and isinstance(sampler := content.get("sampler", {}), dict):
        content["sampler"] = {**sampler, "watch_ids": list(watch_ids)}
    return make_job(content, uri)


def _parse(data: bytes) -> Any:
    """As ``yaml.safe_load``, which lets the last of two equal keys win; here neither does."""
    loader = yaml.SafeLoader(data)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _check_keys(node)
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _check_keys(root: yaml.Node) -> None:
    """Before anything is merged (``<<``): what is merged may be overridden."""
    seen, todo = set(), [root]
    while todo:
        node = todo.pop()
        if id(node) in seen or not isinstance(node, yaml.CollectionNode):
            continue
        seen.add(id(node))  # an alias is the same node again
        if isinstance(node, yaml.SequenceNode):
            todo += node.value
            continue
        lines: dict[tuple[str, str], int] = {}
        for key, value in node.value:
            todo += [key, value]
            if isinstance(key, yaml.ScalarNode):
                line = key.start_mark.line + 1
                name = key.tag, key.value
                if name in lines:
                    raise DuplicateKeyError(
                        f"line {line}: the key {key.value!r} stands there twice (first in line "
                        f"{lines[name]}); keep one"
                    )
                lines[name] = line


def make_job(content: dict[str, Any], source: str) -> JobSpec:
    """Validate a job given as plain values; ``source`` is what errors name."""
    try:
        return JobSpec.model_validate(content)
    except ValidationError as e:
        faults = redacted("\n".join(_faults(e, content)), texts_of(content))
        raise JobFileError(f"{storage.shown(source)}:\n{faults}") from None


class _OfModel(Spec):
    model: Model


def make_model(given: str) -> Model:
    """The checkpoint that an option names, with all that a job may say of it.

    Raises:
        JobFileError: it is not written as a job's ``model``.
    """
    try:
        return _OfModel.model_validate({"model": given}).model
    except ValidationError as e:
        faults = redacted("\n".join(_faults(e, {"model": given})), texts_of(given))
        raise JobFileError(f"options:\n{faults}") from None


def _faults(error: ValidationError, content: dict[str, Any]) -> Iterator[str]:
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
