"""The JSON Schema of job files, with which editors complete keys and underline faults."""

from __future__ import annotations

import json
import re
from inspect import cleandoc
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from pipeline.spec.base import Spec
from pipeline.spec.job import JobSpec
from pipeline.tasks import TASKS

DIALECT = "https://json-schema.org/draft/2020-12/schema"
ATTRIBUTES = re.compile(r"Attributes:\n(.*)", re.DOTALL)
ENTRY = re.compile(r"^    (\w[\w, ]*): (.*(?:\n(?:        .*)?)*)", re.MULTILINE)
MARKS = re.compile(r" ?\(:\w+:`[^`]*`\)|:\w+:|`")  # of reStructuredText, and its references


def job_schema() -> dict[str, Any]:
    """What a job file may hold, as JSON Schema.

    It is a first check. Only a job itself is checked for what its values mean together.
    """
    models: list[type[BaseModel]] = [JobSpec, *TASKS.values()]
    named, schema = models_json_schema([(model, "validation") for model in models])
    job, *tasks = (named[model, "validation"] for model in models)
    definitions = schema["$defs"]
    for model in _all_models():
        if model.__name__ in definitions:
            _describe(definitions[model.__name__], model)
    properties = definitions[job["$ref"].rpartition("/")[2]]["properties"]
    properties["task"] = {"oneOf": tasks, "description": properties["task"]["description"]}
    return {"$schema": DIALECT, "title": "A job of diffpir", **job, "$defs": definitions}


def described(model: type[BaseModel]) -> dict[str, str]:
    """Field -> what the docstrings of a part of a job, and of its bases, say of it."""
    words: dict[str, str] = {}
    for base in reversed(model.__mro__):
        found = ATTRIBUTES.search(cleandoc(base.__doc__ or ""))
        for names, text in ENTRY.findall(found[1]) if found else ():
            words |= dict.fromkeys(names.split(", "), _sentence(text))
    return {name: text for name, text in words.items() if name in model.model_fields}


def _sentence(text: str) -> str:
    text = text if text.startswith("`") else text[0].upper() + text[1:]
    return " ".join(MARKS.sub("", text).split())


def _describe(schema: dict[str, Any], model: type[BaseModel]) -> None:
    whole = schema if "properties" in schema else schema["anyOf"][-1]
    whole.pop("description", None)  # words for programmers
    words = described(model)
    for name, field in whole["properties"].items():
        field.pop("examples", None)  # in YAML, for messages: JSON would have them as text
        if name in words and "const" not in field:
            field["description"] = words[name]


def _all_models() -> list[type[BaseModel]]:
    found: list[type[BaseModel]] = []
    todo: list[type[BaseModel]] = [Spec]
    while todo:
        todo += (model := todo.pop()).__subclasses__()
        found.append(model)
    return found


def job_schema_text() -> str:
    """:func:`job_schema` as the text of a file."""
    return json.dumps(job_schema(), indent=1) + "\n"
