"""Job files: YAML to a validated specification, with errors a person can act on."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from manifests import storage
from pipeline.errors import PipelineError
from pipeline.spec import JobSpec


class JobFileError(PipelineError):
    """A job specification is wrong; the text has a line for each fault."""


def load_job(uri: str) -> JobSpec:
    """Read a YAML job file, by path or URI.

    Raises:
        JobFileError: not YAML, or not a job; names the file and each key.
        StorageError: it cannot be read.
    """
    try:
        content = yaml.safe_load(storage.read_bytes(uri))
    except (yaml.YAMLError, ValueError) as e:  # ValueError: text that is no UTF-8, or no date
        raise JobFileError(f"{uri} is not YAML: {e}") from None
    if not isinstance(content, dict):
        raise JobFileError(f"{uri} must hold keys and values (manifest: ..., output: ...)")
    return make_job(content, uri)


def make_job(content: dict[str, Any], source: str) -> JobSpec:
    """Validate a job given as plain values; ``source`` is what errors name."""
    try:
        return JobSpec.model_validate(content)
    except ValidationError as e:
        raise JobFileError(f"{source}:\n" + "\n".join(_faults(e))) from None


def _faults(error: ValidationError) -> Iterator[str]:
    seen = set()
    for fault in error.errors():
        # Union members stand in the path by their tag or type; the file has no such key.
        path = [str(p) for p in fault["loc"]]
        shown = ".".join(p for p in path if not _is_tag(p)) or "job"
        if shown in seen:  # the same value, refused by another member of a union
            continue
        seen.add(shown)
        if fault["type"] == "extra_forbidden":
            known = _known_keys(path[:-1])
            near = difflib.get_close_matches(path[-1], known, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else f"; known: {', '.join(known)}"
            yield f"  {shown}: unknown key{hint}"
        elif fault["type"] == "missing":
            yield f"  {shown}: required"
        elif fault["type"] == "union_tag_not_found":
            yield f"  {shown}.kind: required"
        elif fault["type"] == "union_tag_invalid":
            context = fault["ctx"]
            yield f"  {shown}.kind: {context['tag']!r} is none of {context['expected_tags']}"
        else:
            given = fault.get("input")
            got = f", got {given!r}" if isinstance(given, str | int | float | bool) else ""
            message = fault["msg"].removeprefix("Value error, ")
            yield f"  {shown}: {message}{got}"


def _is_tag(part: str) -> bool:
    kinds = ("deblur", "sr", "denoise", "inpaint", "colorize", "demosaic", "linear")
    tags = (*kinds, "float", "constrained-float", "shake", "stroke")
    return part in tags or "[" in part


def _known_keys(path: list[str]) -> list[str]:
    """The keys of the model that a path of keys and union tags leads to."""
    model: type[BaseModel] = JobSpec
    for part in path:
        if part in model.model_fields:
            candidates = _models(model.model_fields[part].annotation)
            if len(candidates) == 1:
                model = candidates[0]
            else:
                union = candidates
        else:
            model = next(m for m in union if part in _tags(m))
    return list(model.model_fields)


def _tags(model: type[BaseModel]) -> tuple[str, ...]:
    """What a member of a union is known by: its kinds, or its name."""
    kind = model.model_fields.get("kind")
    return get_args(kind.annotation) if kind else (model.__name__.lower(),)


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for arg in get_args(annotation) for m in _models(arg)]
