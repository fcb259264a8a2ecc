"""What somebody meets first on the command line: help, versions, job files to begin with."""

from __future__ import annotations

import json
import re
import shlex

import pytest
import typer
import yaml
from jsonschema import Draft202012Validator

import diffpir
from jobs.cli import app
from jobs.specfile import JobFileError, load_job, make_job
from pipeline.tasks import TASKS
from tests.command_line import diffpir as command
from tests.local_ray import stop_ray
from tests.s3 import free_port


def test_the_version_is_that_of_the_package():
    result = command("--version")
    assert (result.exit_code, result.stdout) == (0, f"diffpir {diffpir.__version__}\n")


@pytest.fixture(scope="module")
def schema():
    result = command("schema")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    Draft202012Validator.check_schema(found)
    return Draft202012Validator(found)


@pytest.mark.parametrize("kind", TASKS)
def test_a_job_file_to_begin_with_loads_whichever_of_its_settings_is_used(kind, schema, tmp_path):
    file = tmp_path / "job.yaml"
    assert command("init", kind, "-o", file).exit_code == 0
    text = file.read_text()
    assert text.startswith("# yaml-language-server: $schema=diffpir-job.schema.json\n")
    assert json.loads((tmp_path / "diffpir-job.schema.json").read_text()) == schema.schema
    assert command("init", kind).stdout == text.replace(str(file), "job.yaml")
    assert isinstance(load_job(str(file)).task, TASKS[kind])
    settings = re.findall(r"^ *# [a-z_]+: .*\n", text, re.MULTILINE)
    settings = [line for line in settings if not line.startswith("# yaml-language-server")]
    assert len(settings) >= 5
    for line in settings:
        file.write_text(text.replace(line, line.replace("# ", "", 1)))
        assert load_job(str(file)), line
        schema.validate(yaml.safe_load(file.read_text()))


def test_a_job_file_that_is_there_is_kept(tmp_path):
    (tmp_path / "job.yaml").write_text("mine")
    result = command("init", "sr", "-o", tmp_path / "job.yaml")
    assert result.exit_code == 2 and "is there already; choose another name" in result.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["job.yaml"]
    assert (tmp_path / "job.yaml").read_text() == "mine"


def test_init_names_the_tasks_that_there_are():
    result = command("init", "blur")
    assert result.exit_code == 2 and "deblur, sr, inpaint" in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"task": {"kind": "deblur", "kernel": "k.npy", "noise_level": "auto"}},
        {"task": {"kind": "deblur", "kernel": {"file": "k.mat", "name": "k[3]"}}},
        {"task": {"kind": "sr", "factor": 2, "kernel": {"motion": {"length": 3, "angle": 0}}}},
        {"task": {"kind": "inpaint", "mask": "values:0,255"}},
        {"task": {"kind": "inpaint", "mask": {"values": [0, 255], "areas": True}}},
        {"task": {"kind": "denoise", "noise": {"gaussian": [0.1, 0.1, 0.2], "poisson": 0.01}}},
        {"model": "m.pt", "picture": "webp", "actors": 3, "batch_pixels": 4096},
        {"model": {"path": "m.pt", "schedule": "cosine"}, "actors": {"max": 2}, "range": [0, 9]},
    ],
)
def test_the_schema_takes_what_jobs_take(settings, schema):
    job = {"manifest": "m", "output": "o", "task": {"kind": "denoise"}} | settings
    make_job(job, "job")
    schema.validate(job)


@pytest.mark.parametrize(
    "settings",
    [
        {"tasks": 1},
        {"mode": "restored"},
        {"seed": -1},
        {"picture": "gif"},
        {"actors": 0},
        {"task": {"kind": "unblur"}},
        {"task": {"kind": "sr"}},
        {"task": {"kind": "denoise", "factor": 2}},
        {"sampler": {"nfe": "many"}},
        {"model": {"path": "m.pt", "schedule": "cosinus"}},
    ],
)
def test_the_schema_refuses_what_jobs_refuse(settings, schema):
    job = {"manifest": "m", "output": "o", "task": {"kind": "denoise"}} | settings
    with pytest.raises(JobFileError):
        make_job(job, "job")
    assert not schema.is_valid(job)


def test_the_schema_has_words_for_every_key_of_a_job(schema):
    parts = schema.schema["$defs"]
    told = [field.get("description", "") for field in parts["JobSpec"]["properties"].values()]
    assert all(text and text[-1] in ".)" for text in told) and not any("`" in t for t in told)
    assert "mirror image" in parts["SuperResolve"]["properties"]["boundary"]["description"]


def test_the_doctor_tells_what_is_broken(tmp_path, monkeypatch):
    """Ray's address leads nowhere, a folder is missing; the rest of this machine is well."""
    stop_ray()
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{free_port()}")
    result = command("doctor", tmp_path, tmp_path / "gone")
    found = {line[9:].split(": ")[0]: line for line in result.stdout.splitlines()}
    assert result.exit_code == 1 and result.stderr == "2 broken\n"
    assert found["Ray"].startswith("broken") and "unset RAY_ADDRESS" in found["Ray"]
    assert found[f"{tmp_path}/gone"].startswith("broken")
    assert found[str(tmp_path)] == f"ok       {tmp_path}: it can be read and written"
    assert found["PyTorch"].startswith("ok") and found["Prior"].startswith("ok")
    assert not list(tmp_path.iterdir())


def test_the_help_of_restore_has_its_options_in_panels():
    words = command("restore", "--help").stdout
    panels = re.split(r"╭─ (.*?) ─+╮", words)[1:]
    options = {
        name: set(re.findall(r"│ +\*? *(--[a-z-]+)", text))
        for name, text in zip(panels[::2], panels[1::2], strict=True)
    }
    assert {"--kernel", "--noise", "--mask", "--task"} <= options["What was done to the images"]
    assert {"--model", "--nfe", "--seed"} <= options["Prior and sampler"]
    assert {"--actors", "--precision"} <= options["Machine"]
    assert {"--output", "--format"} <= options["Output"]
    assert options["Options"] == {"--help"}


def commands(group, *names):
    """Every command below a group, with its names."""
    for name, one in group.commands.items():
        if hasattr(one, "commands"):
            yield from commands(one, *names, name)
        else:
            yield (*names, name), one


def test_every_command_ends_its_help_in_examples_that_it_takes():
    """The options of each are parsed as those of a command line are."""
    found = list(commands(typer.main.get_command(app)))
    assert len(found) > 20
    for names, one in found:
        first, *lines = (one.epilog or "").split("\n\n")
        assert first == "Examples:" and lines, names
        for line in lines:
            words = shlex.split(line.partition(" > ")[0])
            assert words[: len(names) + 1] == ["diffpir", *names], line
            one.make_context(line, words[len(names) + 1 :])
        shown = " ".join(command(*names, "--help").stdout.split())
        assert "Examples: " + " ".join(lines) in shown, names
