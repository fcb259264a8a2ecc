"""The kinds of tasks, by name. To add one: a module here, and its class in the list below."""

from __future__ import annotations

from typing import Annotated, Any, get_args

from pydantic import PlainValidator, SerializeAsAny, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from diffpir import config
from diffpir.config import SamplerConfig
from pipeline.tasks.colorize import Colorize
from pipeline.tasks.deblur import Deblur
from pipeline.tasks.declip import Declip
from pipeline.tasks.demosaic import Demosaic
from pipeline.tasks.denoise import DenoiseTask
from pipeline.tasks.dequantize import Dequantize
from pipeline.tasks.inpaint import InpaintTask
from pipeline.tasks.jpeg import JpegTask
from pipeline.tasks.linear import LinearTask
from pipeline.tasks.sr import SuperResolve
from pipeline.tasks.task import Task

TASKS: dict[str, type[Task]] = {}


def register(task: type[Task]) -> type[Task]:
    """Make a kind of task known to jobs, under the name that its field ``kind`` allows."""
    (kind,) = get_args(task.model_fields["kind"].annotation)
    TASKS[kind] = task
    return task


for _task in (
    Deblur,
    SuperResolve,
    InpaintTask,
    DenoiseTask,
    Demosaic,
    Colorize,
    LinearTask,
    JpegTask,
    Declip,
    Dequantize,
):
    register(_task)


def presets() -> dict[str, SamplerConfig]:
    """Name -> settings: the paper's, and as ``builtin-NAME`` those of the embedded prior."""
    embedded = {
        f"builtin-{name}": defaults.builtin
        for task in TASKS.values()
        for name, defaults in task.presets.items()
    }
    return config.PRESETS | embedded


def preset(name: str) -> SamplerConfig:
    """The settings of that name.

    Raises:
        ConfigError: there is none; the message lists those there are.
    """
    return config.preset(name, presets())


def benchmarks() -> dict[str, dict[str, Any]]:
    """Name -> task, as plain values: what the quality benchmarks measure."""
    return {
        name: {"kind": kind, **fields}
        for kind, task in TASKS.items()
        for name, fields in task.benchmarks.items()
    }


def _parsed(value: Any) -> Task:
    """A task from plain values, by its kind; a wrong one raises ValidationError."""
    if isinstance(value, Task):
        return value
    if not isinstance(value, dict):
        raise _fault("dict_type", (), value)
    if "kind" not in value:
        raise _fault("missing", ("kind",), value)
    kind = value["kind"]
    if not isinstance(kind, str) or kind not in TASKS:
        known = ", ".join(map(repr, TASKS))
        fault = PydanticCustomError(
            "unknown_kind",
            "{kind} is none of {known}",
            {
                "kind": repr(kind),
                "known": known,
            },
        )
        raise _fault(fault, ("kind",), value)
    return TASKS[kind].model_validate(value)


def _fault(kind: str | PydanticCustomError, place: tuple[str, ...], value: Any) -> ValidationError:
    details = InitErrorDetails(type=kind, loc=place, input=value)
    return ValidationError.from_exception_data("task", [details])


# A field of a specification that holds a task of any kind.
AnyTask = Annotated[SerializeAsAny[Task], PlainValidator(_parsed)]
