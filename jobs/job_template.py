"""A commented job file to begin with."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic.fields import FieldInfo

from jobs.job_schema import described, job_schema_text
from jobs.specfile import JobFileError, make_job
from pipeline.tasks import TASKS
from pipeline.tasks.task import Task

SCHEMA = "diffpir-job.schema.json"  # beside a job file, for editors
HEAD = f"""\
# yaml-language-server: $schema={SCHEMA}
# This job restores images; their task is {{kind}}. Start or resume it: diffpir run {{name}}
# A line such as "# seed: 0" is a setting that may be left out: remove the "# " to change it.
"""
NEEDED = {
    "manifest": (
        "manifest.parquet",
        "The images, by path or URI. To list those of a folder: diffpir manifest build photos/ -o "
        "manifest.parquet",
    ),
    "output": ("out", "A folder or URI. The results go to OUTPUT/results/*.parquet."),
    "mode": (
        "restore",
        "The images are degraded. (benchmark: they are clean, and are degraded, restored, scored.)",
    ),
}
# What a beginner should know of; the rest is in the schema.
OPTIONAL = {
    "model": (
        "builtin",
        "The prior: a name (diffpir models list), a model of the Hugging Face Hub (org/name), or "
        "the path or URI of a checkpoint.",
    ),
    "sampler": ("{nfe: 20}", "Settings of the sampler: nfe is the network evaluations per image."),
    "samples": ("4", "So many samples are drawn for each image; their mean is the result."),
    "seed": ("0", "Every random choice follows from it and from the image's id."),
    "actors": ("1", "How many processes hold the model; by default what the machine has room for."),
    "picture": ("{format: png, bits: 8}", "How restored pictures are written."),
    "images": ("out/images", "A folder or URI that receives them as files, too."),
}
# The first of the values that a field's example names.
VALUE = re.compile(r"\{.*?\}(?= or |$)|\[.*?\]|[^, ]+")


def job_text(kind: str, name: str = "job.yaml") -> str:
    """A job file for a kind of task, with comments.

    Args:
        kind: of the task.
        name: of the file, for its own words.
    """
    task = TASKS[kind]
    pieces = [HEAD.format(kind=kind, name=name)]
    pieces += [_entry(key, *told) for key, told in NEEDED.items()]
    pieces.append("# What was done to the images.\ntask:\n" + textwrap.indent(_task(task), "  "))
    job = _job(task)
    for key, (value, words) in OPTIONAL.items():
        if _loads({**job, key: yaml.safe_load(value)}):
            pieces.append(_entry(key, value, words, needed=False))
    return "\n".join(pieces)


def write_job(kind: str, file: Path) -> None:
    """Write the job file, and the schema beside it that editors read.

    Raises:
        FileExistsError: the file is there already; nothing was written.
    """
    with file.open("x", encoding="utf-8") as f:
        f.write(job_text(kind, str(file)))
    file.with_name(SCHEMA).write_text(job_schema_text(), encoding="utf-8")


def _job(task: type[Task]) -> dict[str, Any]:
    """What the file says without its comments."""
    (kind,) = get_args(task.model_fields["kind"].annotation)
    fields = {key: yaml.safe_load(value) for key, value in task.example.items()}
    job = {key: yaml.safe_load(value) for key, (value, _) in NEEDED.items()}
    return job | {"task": {"kind": kind} | fields}


def _task(task: type[Task]) -> str:
    words, job = described(task), _job(task)
    entries = [f"kind: {job['task']['kind']}\n"]
    entries += [_entry(key, value, words.get(key, "")) for key, value in task.example.items()]
    for key, field in task.model_fields.items():
        value = _usual(field)
        if key in job["task"] or key in task.of_benchmarks or value is None:
            continue
        # What only goes together with another setting would not load here.
        if _loads({**job, "task": {**job["task"], key: yaml.safe_load(value)}}):
            entries.append(_entry(key, value, words.get(key, ""), needed=False))
    return "".join(entries)


def _entry(key: str, value: str, words: str, *, needed: bool = True) -> str:
    comment = textwrap.indent(textwrap.fill(words, 94, break_on_hyphens=False), "# ")
    line = f"{key}: {value}\n" if needed else f"# {key}: {value}\n"
    return f"{comment}\n{line}" if words else line


def _usual(field: FieldInfo) -> str | None:
    """A value of a field as YAML: its usual one, or the first of its examples or choices."""
    usual = None if field.is_required() else field.get_default(call_default_factory=True)
    if usual not in (None, {}):
        return yaml.safe_dump(usual, default_flow_style=True).removesuffix("...\n").strip()
    if field.examples:
        found = VALUE.search(field.examples[0])
        return found and found[0]
    for member in (field.annotation, *get_args(field.annotation)):
        choices = [choice for choice in get_args(member) if isinstance(choice, str)]
        if choices:
            return choices[0]
    return None


def _loads(job: dict[str, Any]) -> bool:
    try:
        make_job(job, "template")
    except JobFileError:
        return False
    return True
