"""Job files: YAML to a validated specification, with errors a person can act on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml
from pydantic import ValidationError

from manifests import storage
from manifests.secrets import redacted, texts_of
from pipeline.errors import PipelineError
from pipeline.spec.base import Spec
from pipeline.spec.faults import faults_of
from pipeline.spec.job import JobSpec
from pipeline.spec.model import Model


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
        faults = redacted("\n".join(faults_of(e, content)), texts_of(content))
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
        faults = redacted("\n".join(faults_of(e, {"model": given})), texts_of(given))
        raise JobFileError(f"options:\n{faults}") from None
