"""Faults of a job, told by the names of the options that its settings were given by."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.errors import JobStopped, PipelineError

# Fields of a job -> options of ``diffpir restore``, where they are called otherwise.
OTHERWISE = {"noise_level": "--noise", "kind": "--task"}
OF_TASK = "kernel noise_level noise factor mask boundary"  # all others are given by --set
OF_SAMPLER = "preset method nfe save_steps watch_ids"
OF_PICTURE = "format quality bits"
OF_JOB = (
    "model channels range samples estimate uncertainty seed actors precision batch_pixels compile "
    "images output"
)


def option_of(field: str) -> str:
    """The option that gives a field."""
    return OTHERWISE.get(field, f"--{field.replace('_', '-')}")


def _any_of(names: str) -> str:
    return "|".join(names.split())


# task.noise_level: WORDS -> --noise: WORDS (also ``task: noise: WORDS``, where the part itself says
# its field); task.kernel.disk.radius: WORDS -> --kernel: disk.radius: WORDS; task.high: WORDS ->
# --set high: WORDS; sampler.nfe: WORDS -> --nfe: WORDS.
FAULT = re.compile(
    rf"^(?P<indent> *)(?:task(?:\.|: )(?P<task>{_any_of(OF_TASK)})"
    r"|task\.(?P<other>\w+)"
    rf"|sampler(?:\.|: )(?P<sampler>{_any_of(OF_SAMPLER)})"
    rf"|picture(?:\.|: )(?P<picture>{_any_of(OF_PICTURE)})"
    rf"|(?P<job>{_any_of(OF_JOB)}))(?:\.(?P<rest>[\w.\[\]]+))?: (?P<words>.*)$"
)
# ``sampler: nfe must be ...`` and ``sampler: no preset ...``.
SETTING = re.compile(r"^( *)sampler: (nfe |no preset)")


@contextmanager
def told_by_options(kind: str) -> Iterator[None]:
    """Faults of a job that came from options for a kind of task name these options."""
    try:
        yield
    except JobStopped:
        raise
    except PipelineError as e:
        raise PipelineError(in_options(str(e), kind)) from None


def in_options(text: str, kind: str) -> str:
    """A message on faults of a job's fields, with the options in their place.

    Args:
        text: lines, of which those of a fault begin with its field.
        kind: of the task.
    """
    first, *faults = text.split("\n")
    if first != "options:":
        return "\n".join(_told(line, kind) for line in (first, *faults))
    if len(faults) == 1:
        return _told(faults[0], kind).strip()
    return "\n".join([f"{len(faults)} faults of options:", *(_told(line, kind) for line in faults)])


def _told(line: str, kind: str) -> str:
    line = SETTING.sub(lambda m: m[1] + {"nfe ": "--nfe "}.get(m[2], f"--preset: {m[2]}"), line)
    match = FAULT.match(line)
    if not match:
        return line
    parts = match.groupdict()
    name = parts["task"] or parts["sampler"] or parts["picture"] or parts["job"]
    option = f"--set {parts['other']}" if parts["other"] else option_of(name)
    words, rest = parts["words"], parts["rest"]
    if rest:
        return f"{parts['indent']}{option}: {rest}: {words}"
    if words == "required":
        return f"{parts['indent']}{option} is required for {kind}"
    if words.startswith("unknown key") and not parts["other"]:
        return f"{parts['indent']}{option} does not go with {kind}"
    return f"{parts['indent']}{option}: {words}"
