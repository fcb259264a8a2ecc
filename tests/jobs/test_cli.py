"""The command line as a person uses it, on real files and a real Ray."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer

from jobs.aggregate import aggregate
from jobs.console import user_errors
from jobs.photographs import photographs_of
from jobs.results import METRICS
from pipeline.errors import PipelineError
from tests.command_line import diffpir
from tests.pictures import decoded
from tests.s3 import free_port

pytestmark = pytest.mark.usefixtures("ray_cluster")


@pytest.fixture(scope="module")
def finished(photos, tmp_path_factory, tiny_model):
    """A finished benchmark of two rows that succeed and one that fails; its output."""
    folder = tmp_path_factory.mktemp("job")
    diffpir("manifest", "build", photos, "-o", folder / "m.parquet")
    table = pq.read_table(folder / "m.parquet").to_pylist()
    rows = [{**row, "site": site} for row, site in zip(table, "ab", strict=True)]
    rows.append({"id": "gone", "image": str(photos / "gone.png"), "site": "b"})
    (folder / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "job.yaml").write_text(
        f"{{manifest: {folder}/m.jsonl, output: {folder}/out, mode: benchmark, "
        f"task: {{kind: denoise, noise_level: 0.1}}, model: {tiny_model}, sampler: {{nfe: 2}}, "
        "actors: 1}"  # each takes seconds to start
    )
    result = diffpir("run", folder / "job.yaml")
    assert result.exit_code == 3
    assert "2 restored, 1 failed" in result.stdout
    assert "failed: 1 not_found" in result.stderr
    return folder


def test_plan_says_what_is_left_and_writes_nothing(finished, photos, tmp_path):
    again = diffpir("plan", finished / "job.yaml")
    assert again.exit_code == 0, again.output
    assert "rows: 3 in " in again.stdout and "time: about" not in again.stdout
    assert "there already: 3 rows\nto restore: 0 rows in 0 shards\n" in again.stdout
    text = (finished / "job.yaml").read_text().replace(f"{finished}/out", f"{tmp_path}/out")
    (tmp_path / "job.yaml").write_text(text)
    new = diffpir("plan", tmp_path / "job.yaml")
    assert "there already: nothing" in new.stdout and not (tmp_path / "out").exists()
    assert "network evaluations: 2 for each row, 6 in all\nactors: 1\n" in new.stdout
    (tmp_path / "job.yaml").write_text(text.replace("/m.jsonl", "/gone.jsonl"))
    wrong = diffpir("plan", tmp_path / "job.yaml")
    assert wrong.exit_code == 2 and "gone.jsonl" in wrong.stderr


def test_run_resumes_verifies_and_starts_anew_only_when_told(finished):
    job, out = finished / "job.yaml", finished / "out"
    result = diffpir("verify", out)
    assert result.exit_code == 0 and "3 rows (1 failed)" in result.stderr
    assert diffpir("run", job).exit_code == 3  # finished already: the same answer
    assert diffpir("run", job, "--retry-failed").exit_code == 3
    result = diffpir("run", job, "--fresh")
    assert result.exit_code == 2 and "holds an earlier run" in result.stderr
    result = diffpir("run", job, "--overwrite")
    assert result.exit_code == 2 and "--fresh" in result.stderr
    before = json.loads((out / "run.json").read_text())["created"]
    assert diffpir("run", job, "--fresh", "--overwrite").exit_code == 3
    assert json.loads((out / "run.json").read_text())["created"] >= before
    part = next((out / "results").glob("*.parquet"))
    data = part.read_bytes()
    part.write_bytes(data[:-9])
    result = diffpir("verify", out)
    part.write_bytes(data)
    assert result.exit_code == 3 and part.name in result.stdout
    assert diffpir("verify", finished).exit_code == 2


def test_a_job_that_cannot_go_on_says_so_and_exits_with_1(finished, tmp_path):
    text = (finished / "job.yaml").read_text().replace(f"{finished}/out", f"{tmp_path}/out")
    places = [tmp_path / "png" / f"{name}.png" for name in ("coffee", "sub/chelsea")]
    for place in places:
        place.mkdir(parents=True)  # folders where pictures should go
    text = text.replace("{manifest", f"{{images: {tmp_path}/png, manifest")
    (tmp_path / "job.yaml").write_text(text)
    result = diffpir("run", tmp_path / "job.yaml")
    assert result.exit_code == 1, result.output
    (line,) = (line for line in result.stderr.splitlines() if "stopped: " in line)
    assert line.removeprefix("stopped: is a folder, not a file: ") in map(str, places)
    assert "Traceback" not in result.output and "attempts" not in result.output
    for place in places:
        place.rmdir()
    assert diffpir("run", tmp_path / "job.yaml").exit_code == 3


def test_compiling_without_a_compiler_is_refused_before_any_work(photos, tmp_path):
    """By Ray's processes, so in a Ray of its own, where none finds a compiler."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("bash", "env", "ls", "ps", "sh"):
        if where := shutil.which(name):
            (tools / name).symlink_to(where)
    command = ["-m", "jobs", "restore", photos, "-o", tmp_path / "out", "--task", "denoise"]
    done = subprocess.run(
        [sys.executable, *map(str, command), "--noise", "0.1", "--compile"],
        env={**os.environ, "PATH": str(tools), "CXX": "", "RAY_ADDRESS": ""},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2, done.stderr
    assert "error: --compile: this machine cannot (" in done.stderr and not done.stdout
    assert "Traceback" not in done.stderr
    assert os.listdir(tmp_path / "out") == ["manifest.parquet"]


def test_metrics_are_what_the_rows_say(finished):
    rows = pq.ParquetDataset(finished / "out" / "results").read().to_pylist()
    psnr = np.array([row["psnr"] for row in rows if row["status"] == "ok"])
    records = json.loads(diffpir("metrics", finished / "out", "--format", "json").stdout)
    record = next(r for r in records if r["metric"] == "psnr")
    assert (record["rows"], record["failed"], record["count"]) == (3, 1, 2)
    assert record["mean"] == pytest.approx(psnr.mean())
    assert record["std"] == pytest.approx(psnr.std(ddof=1))
    assert record["sem"] == pytest.approx(psnr.std(ddof=1) / 2**0.5)
    assert record["median"] == pytest.approx(np.median(psnr))
    assert record["q05"] == pytest.approx(np.quantile(psnr, 0.05))
    assert (record["min"], record["max"]) == (psnr.min(), psnr.max())
    gain = next(r for r in records if r["metric"] == "gain")
    baseline = next(r for r in records if r["metric"] == "baseline_psnr")
    assert gain["mean"] == pytest.approx(record["mean"] - baseline["mean"])


def test_metrics_by_a_column_in_every_format(finished):
    out = finished / "out"
    text = diffpir("metrics", out, "--by", "site", "--format", "csv").stdout
    records = list(csv.DictReader(io.StringIO(text)))
    assert {(r["site"], r["rows"], r["failed"]) for r in records} == {
        ("a", "1", "0"),
        ("b", "2", "1"),
    }
    table = diffpir("metrics", out, "--by", "sampler.nfe").stdout.splitlines()
    assert table[0].split()[:3] == ["sampler.nfe", "rows", "failed"]
    document = diffpir("metrics", out, "--by", "site", "--format", "markdown").stdout.splitlines()
    assert document[0].startswith("| site | rows | failed | metric |")
    assert document[1].startswith("| --- | ---: | ---: | --- |") and len(document) == 2 + 14
    assert table[1].split()[:4] == ["2", "3", "1", "psnr"]
    by_status = json.loads(diffpir("metrics", out, "--by", "status", "--format", "json").stdout)
    assert {r["status"] for r in by_status} == {"ok", "error"}
    for column, words in [("sight", "no column 'sight'"), ("sampler.x", "sampler.x")]:
        result = diffpir("metrics", out, "--by", column)
        assert result.exit_code == 2 and words in result.stderr
    assert diffpir("metrics", finished / "nowhere").exit_code == 2


def test_damaged_records_of_an_output_are_named_without_a_traceback(finished, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(finished / "out", out)
    job = tmp_path / "job.yaml"
    job.write_text((finished / "job.yaml").read_text().replace(f"{finished}/out", str(out)))

    (out / "drivers").mkdir(exist_ok=True)
    (out / "drivers" / "0123456789ab.json").write_text('{"ho')
    result = diffpir("status", out)
    assert result.exit_code == 4 and "driver on an unknown machine" in result.stdout
    (out / "drivers" / "0123456789ab.json").unlink()

    (out / "summary.json").write_text("[]")
    assert diffpir("status", out).exit_code == 1  # as if it had stopped before its summary
    assert diffpir("run", job).exit_code == 3  # which writes it again
    assert diffpir("status", out).exit_code == 3

    for text in ("{}", "[", '{"id": "x", "identity": {}, "plan": [1]}'):
        (out / "run.json").write_text(text)
        for command in (("status", out), ("verify", out), ("run", job)):
            result = diffpir(*command)
            assert result.exit_code == 2, (command, result.stderr)
            assert f"{out}/run.json is not a record of a run" in result.stderr


def test_manifest_check_says_what_is_wrong_row_by_row(finished, photos):
    result = diffpir("manifest", "check", finished / "m.jsonl")
    assert result.exit_code == 3
    assert result.stdout == f"row 3 (id 'gone'): image: no such file: {photos}/gone.png\n"
    assert diffpir("manifest", "check", finished / "m.parquet", "--deep").exit_code == 0


def test_the_demo_restores_scores_and_shows(tmp_path):
    result = diffpir("demo", "-o", tmp_path / "demo", "--nfe", 2)
    assert result.exit_code == 0, result.output
    assert "inpaint" in result.stdout and "baseline_psnr" in result.stdout
    sheet = decoded((tmp_path / "demo" / "contact-sheet.png").read_bytes())
    assert sheet.shape[0] > 700 and sheet.std() > 20


def test_a_file_where_a_folder_should_be_is_said_in_words(photos, tmp_path):
    (tmp_path / "file").write_text("")
    diffpir("manifest", "build", photos, "-o", tmp_path / "m.csv")
    for arguments in (["demo"], ["train", tmp_path / "m.csv", "--steps", 1, "--crop", 16]):
        result = diffpir(*arguments, "-o", tmp_path / "file")
        assert result.exit_code == 2 and "is a file, not a folder" in result.stderr
        result = diffpir(*arguments, "-o", "/proc/none")
        assert result.exit_code == 2 and "/proc/none: No such file" in result.stderr
        result = diffpir(*arguments, "-o", "s3://bucket/prior")
        assert result.exit_code == 2 and "not a URI" in result.stderr
    assert diffpir("demo", "-o", tmp_path / "d", "--nfe", 1).exit_code == 2


def test_an_error_without_a_file_is_said_as_it_is(capsys):
    for error in (PermissionError("port 1 is taken"), FileExistsError("port 1 is taken")):
        with pytest.raises(typer.Exit), user_errors():
            raise error
        assert capsys.readouterr().err.strip() == "error: port 1 is taken"


def test_infinite_psnr_and_missing_groups_are_counted_apart():
    table = pa.table(
        {
            "status": ["ok", "ok", "ok"],
            "site": pa.array([1.0, None, None]),
            **{name: pa.array([float("inf"), 30.0, None]) for name in METRICS},
        }
    )
    whole = next(r for r in aggregate(table, None) if r["metric"] == "psnr")
    assert (whole["rows"], whole["count"], whole["mean"]) == (3, 1, 30.0)
    groups = {r["site"]: r["rows"] for r in aggregate(table, "site")}
    assert groups == {1.0: 1, None: 2}


def test_weights_of_photographs_are_numbers(photos, tmp_path):
    manifest = tmp_path / "m.csv"
    for texts, words in [
        ((" .5", "+1"), None),
        (("NA", "1"), "row 1: weight is 'NA', expected a number of 0 or more"),
        (("1", ""), "row 2: weight is None"),
        (("1", "-1"), "row 2: weight is -1"),
        (("True", "True"), "row 1: weight is True"),
        (("0", "0"), "'weight' is 0 in every row"),
    ]:
        rows = zip(("coffee", "sub/chelsea"), texts, strict=True)
        lines = [f"{name},{photos}/{name}.png,{text}" for name, text in rows]
        manifest.write_text("\n".join(["id,image,weight", *lines]))
        if words:
            with pytest.raises(PipelineError, match=words):
                photographs_of(str(manifest), 16)
        else:
            assert photographs_of(str(manifest), 16)[1] == [0.5, 1.0]


def test_compare_pairs_two_runs_by_id(finished, tmp_path):
    """One more evaluation per image, and one image that the other run did not have."""
    rows = [json.loads(line) for line in (finished / "m.jsonl").read_text().splitlines()]
    rows = [rows[1], rows[0], {**rows[0], "id": "more"}]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = (finished / "job.yaml").read_text().replace(str(finished), str(tmp_path))
    (tmp_path / "job.yaml").write_text(text.replace("{nfe: 2}", "{nfe: 3}"))
    assert diffpir("run", tmp_path / "job.yaml").exit_code == 0

    def psnr(folder) -> dict[str, float]:
        table = pq.ParquetDataset(folder / "out" / "results").read(["id", "psnr"])
        return dict(zip(*table.to_pydict().values(), strict=True))

    a, b = psnr(finished), psnr(tmp_path)
    d = np.array([b[row["id"]] - a[row["id"]] for row in rows[:2]])
    result = diffpir("compare", finished / "out", tmp_path / "out", "--format", "json")
    assert result.exit_code == 0
    assert "2 ids in both (failed: 0 in A, 0 in B), 1 only in A, 1 only in B" in result.stderr
    record = next(r for r in json.loads(result.stdout) if r["metric"] == "psnr")
    assert (record["pairs"], record["b_higher"]) == (2, np.mean(d > 0))
    assert record["difference"] == pytest.approx(d.mean())
    half = 12.706 * d.std(ddof=1) / np.sqrt(2)  # Student's t for one degree of freedom
    assert record["low"] == pytest.approx(d.mean() - half, rel=1e-3)
    assert record["high"] == pytest.approx(d.mean() + half, rel=1e-3)
    (tmp_path / "m.jsonl").write_text(json.dumps({**rows[0], "id": "other"}) + "\n")
    (tmp_path / "job.yaml").write_text(text.replace("/out,", "/out2,"))
    diffpir("run", tmp_path / "job.yaml")
    result = diffpir("compare", finished / "out", tmp_path / "out2")
    assert result.exit_code == 2 and "no id in common" in result.stderr


def test_a_wrong_job_is_refused_before_the_cluster_hears_of_it(finished, tmp_path):
    text = (finished / "job.yaml").read_text()
    nowhere = ("--address", "http://127.0.0.1:9")
    before = dict(os.environ)

    def refused(text: str, *options) -> str:
        (tmp_path / "job.yaml").write_text(text)
        result = diffpir("submit", tmp_path / "job.yaml", *nowhere, *options)
        assert result.exit_code == 2
        return result.stderr

    words = refused(text.replace(f"{finished}/out", "out"))
    assert "absolute paths on a file system" in words and "output: out" in words
    more = text.replace("mode:", "perceptual: {inception: i.pth}, mode:")
    assert "perceptual.inception: i.pth" in refused(more)
    assert "sampler.nfe" in refused(text.replace("nfe: 2", "nfe: two"))
    assert "not set here: NO_SUCH" in refused(text, "--env", "NO_SUCH")
    assert "no Ray cluster answers at http://127.0.0.1:9" in refused(text)
    assert "it goes with --fresh" in refused(text, "--overwrite")
    assert "no Ray cluster" in refused(text, "--overwrite", "--fresh")
    assert dict(os.environ) == before


def test_code_of_a_job_file_runs_only_where_command_or_configuration_allow_it(
    photos, tmp_path, monkeypatch
):
    proof, manifest = tmp_path / "proof", tmp_path / "m.parquet"
    diffpir("manifest", "build", photos, "-o", manifest)
    (tmp_path / "job.yaml").write_text(
        f"manifest: {manifest}\noutput: {tmp_path}/out\n"
        "task: {kind: linear, operator: 'subprocess:check_output', noise_level: 0.1, "
        f"options: {{args: touch {proof}, shell: true}}}}\n"
    )
    config = tmp_path / "config.yaml"
    monkeypatch.setenv("DIFFPIR_CONFIG", str(config))

    def run(*options: str) -> str:
        result = diffpir("run", tmp_path / "job.yaml", *options)
        assert result.exit_code == 2 and "Traceback" not in result.output
        return " ".join(result.output.split())

    assert "no such file" in run()
    config.write_text("allow_code: [json]\n")
    words = run("--allow-code", "shutil")
    assert "task.operator: subprocess:check_output is Python code" in words
    assert "--allow-code subprocess" in words and not proof.exists()
    assert not (tmp_path / "out").exists()
    config.write_text("allow_cod: [json]\n")
    assert "config.yaml: allow_cod: Extra inputs" in run()
    config.write_text("allow_code: [subprocess]\n")
    assert "returned bytes, expected an object with the methods forward and adjoint" in run()
    assert proof.exists()  # now it was the user's word


def test_a_cluster_that_is_not_there_is_said_in_words(photos, tmp_path):
    command = [sys.executable, "-m", "jobs", "restore", photos, "-o", tmp_path / "out"]
    ended = subprocess.run(
        [*command, "--task", "denoise", "--noise", "0.1"],
        env={**os.environ, "RAY_ADDRESS": f"127.0.0.1:{free_port()}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 2 and "Traceback" not in ended.stderr
    assert "no Ray cluster at RAY_ADDRESS=127.0.0.1:" in ended.stderr
