"""No secret of a URI in what the pipeline writes: rows, run.json, the driver's errors."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings

from manifests import storage
from manifests.secrets import texts_of
from manifests.storage.dead_hosts import DEAD_HOSTS
from pipeline.arrays import pack
from pipeline.errors import PipelineError
from pipeline.flow.isolate import Isolated
from pipeline.flow.ray_errors import in_words
from pipeline.job import Job
from pipeline.output.layout import Layout
from pipeline.output.record import create_record
from pipeline.output.run_folder import RunFolder
from pipeline.prepare import check
from pipeline.restoring.restorer import Restorer
from pipeline.schema import HIDDEN, IMAGE_METADATA, INDEX, OUTCOME, SHARD
from pipeline.spec.fetch import Fetch
from pipeline.spec.job import JobSpec
from pipeline.spec.picture import PictureFile
from pipeline.steps.encode import Encode
from pipeline.steps.load import Load
from pipeline.steps.table import INPUTS
from pipeline.tasks.assets import Assets
from tests.manifests.test_secrets import MARK, leaks, names, queries, site, users  # noqa: F401
from tests.operators import Red
from tests.support import versions_of

QUICK = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def rows(*rows: dict, error: str = "") -> pa.Table:
    return pa.table(
        {
            SHARD: pa.repeat(0, len(rows)),
            INDEX: pa.array(range(len(rows)), pa.int64()),
            "row": pa.array(rows),
            "error": pa.repeat(error, len(rows)),
            "error_kind": pa.repeat("failed" if error else "", len(rows)),
        }
    )


def encoded(table: pa.Table) -> pa.Table:
    done = {
        "outcome": pa.array([{}] * len(table), pa.struct(OUTCOME)),
        "pixels": pack([None] * len(table)),
        "uncertainty_pixels": pack([None] * len(table)),
        "sample_pixels": pack([None] * len(table)),
        "step_pixels": pack([None] * len(table)),
        "step_names": pa.array([None] * len(table), pa.list_(pa.string())),
        "alpha": pack([None] * len(table)),
        "metadata": pa.nulls(len(table), IMAGE_METADATA),
        **{name: pa.repeat(0, len(table)) for name in HIDDEN},
    }
    for name, column in done.items():
        if name not in table.column_names:
            table = table.append_column(name, column)
    return Encode(None, PictureFile())(table)


def load(scheme: str) -> Load:
    return Load(
        "/",
        ("image",),
        frozenset({scheme}),
        2**20,
        fetch=Fetch(retries=0),
        allowed_hosts=("127.0.0.1",),
        decode_seconds=60,
    )


@QUICK
@given(users, names, queries)
def test_rows(site, user, name, query):  # noqa: F811
    uri = f"http://{user}127.0.0.1:{site.server_port}/500/{name}{query}"
    row = {"id": "a", "image": uri, "mask": f"{uri}&", "kernel": None, "note": f"from {uri}"}
    DEAD_HOSTS.forget()
    loaded = load("http")(rows(row))
    assert loaded["error"][0].as_py().startswith(f"image: {storage.shown(uri)}: ")
    assert loaded["error_kind"][0].as_py() in ("storage", "bad_uri", "unknown_host")
    forbidden = load("s3")(rows(row))
    foreign = rows(row, error=f"KeyError: {uri!r}")  # as some library may tell of it
    for table in (loaded, forbidden, foreign):
        if table is not foreign:
            table = table.drop_columns([*INPUTS, "alpha", "metadata"])
        (result,) = encoded(table).to_pylist()
        assert not leaks(json.dumps(result, default=str)), result
        assert result["image"] == storage.shown(uri) and result["note"].startswith("from http://")


def test_what_the_restorer_raises(tiny_model, monkeypatch):
    secret = f"https://me:{MARK}@h/a.png?sig={MARK}"
    spec = {
        "manifest": f"https://h/m.csv?sig={MARK}2",
        "output": "out",
        "task": {"kind": "denoise", "noise_level": 0.1},
        "model": tiny_model,
    }

    def fail(*_):
        raise KeyError(f"{secret} of {spec['manifest']}")

    restorer = Restorer(
        JobSpec.model_validate(spec), Assets(), tiny_model, versions_of(tiny_model), 2**16
    )
    monkeypatch.setattr("pipeline.restoring.restorer.build_problem", fail)
    table = rows({"id": "a", "image": secret})
    for name in (*INPUTS, "alpha"):
        table = table.append_column(name, pack([None]))
    table = table.append_column("metadata", pa.nulls(1, IMAGE_METADATA))
    (error,) = restorer(table)["error"].to_pylist()
    assert error.startswith("cannot be posed as a problem (KeyError: ")
    assert "@h/a.png" in error and not leaks(error)


def test_what_a_step_raises_goes_to_logs_without_the_secrets_of_its_rows():
    secret = f"https://me:{MARK}@h/a.png?sig={MARK}"

    def step(table: pa.Table) -> pa.Table:
        raise OSError(f"no {secret}")

    class Book:
        begin = staticmethod(lambda work: 0)
        end = staticmethod(lambda work: None)

    with pytest.raises(PipelineError) as caught:
        Isolated(step, "step", Book())(rows({"id": "a", "image": secret}))
    assert str(caught.value) == "OSError: no https://***@h/a.png?***"
    assert caught.value.__suppress_context__


@QUICK
@given(users, names, queries)
def test_the_record_and_the_drivers_errors(tmp_path_factory, user, name, query):
    folder = str(tmp_path_factory.mktemp("out"))
    uri = f"https://{user}h/{name}{query}"
    spec = JobSpec.model_validate(
        {
            "manifest": uri,
            "output": folder,
            "images": f"{uri}x",
            "model": uri,
            "task": {
                "kind": "linear",
                "operator": "a:b",
                "options": {"files": [uri, {"more": uri}], "text": f"-o {uri}"},
            },
        }
    )
    create_record(Layout(folder), {}, spec, [], None, "builtin")
    record = storage.read_bytes(f"{folder}/run.json").decode()
    assert not leaks(record) and "https://h/" in record
    words = in_words(ValueError(f"cannot open {uri!r}"), texts_of(spec.model_dump()))
    assert words.startswith("ValueError: cannot open ") and not leaks(words)
    with pytest.raises(PipelineError) as caught:
        next(iter(spec.task.assets("restore", [])), None)
    assert not leaks(str(caught.value)) and "a:b" in str(caught.value)


def test_the_identity_of_a_job_and_what_differs_from_it(tmp_path, tiny_model, monkeypatch):
    """A user's operator may be told to read from anywhere."""
    monkeypatch.setattr("tests.operators.halves", lambda source: Red(), raising=True)
    (tmp_path / "m.csv").write_text("id,image\na,a.png\n")

    def job(source: str) -> Job:
        options = {"source": source}
        return check(
            JobSpec.model_validate(
                {
                    "manifest": str(tmp_path / "m.csv"),
                    "output": str(tmp_path),
                    "model": tiny_model,
                    "task": {
                        "kind": "linear",
                        "operator": "tests.operators:halves",
                        "options": options,
                        "noise_level": 0.1,
                    },
                }
            ),
            ["tests.operators"],
        )

    first, other = (job(f"https://me:{MARK}@h/{k}.npy?sig={MARK}") for k in "ab")
    assert not leaks(json.dumps(first.identity))
    RunFolder.create(first, 1)
    assert RunFolder.find(first)
    with pytest.raises(PipelineError, match=r"source was 'https://h/a.npy', is 'https://h/b.npy'"):
        RunFolder.find(other)
