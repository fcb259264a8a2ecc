"""Exports of a real job's output, read by the libraries that the formats are of."""

from __future__ import annotations

import csv
import gc
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import warnings
from contextlib import chdir, contextmanager

import fsspec
import numpy as np
import pandas as pd
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from jobs.console import ProgressLine
from jobs.export.groups import in_groups
from jobs.export.journal import NAME as JOURNAL
from jobs.export.names import key_of, suffix_of
from jobs.export.plan import Part, Piece, plan_files
from jobs.specfile import make_job
from manifests import storage
from pipeline.run import run_job
from pipeline.schema import PICTURE
from tests.command_line import diffpir
from tests.pictures import decoded, photograph
from tests.support import ROOT

pytestmark = pytest.mark.usefixtures("ray_cluster")

IDS = ["007", "a/b.c.png", "__x__", ".hidden", "ü %?", "vanished", "gone", "secret", "a/b"]
FAILED = ["gone", "secret"]
RESTORED = [name for name in IDS if name not in FAILED]
SAMPLES = 2


def export(*arguments):
    result = diffpir("export", *arguments)
    assert result.exit_code == 0, result.output
    return result


@contextmanager
def files_left_open():
    """For libraries that leave the closing of their files to the garbage collector."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
        gc.collect()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures, one of them JPEG, and a file that is none; a manifest with columns of all kinds."""
    folder = tmp_path_factory.mktemp("export")
    for i in range(len(IDS)):
        photograph(40 + i, 32).save(folder / f"{i}.png")
    photograph(40, 32).save(folder / "0.jpg")
    (folder / f"{IDS.index('gone')}.png").unlink()
    (folder / f"{IDS.index('secret')}.png").write_bytes(b"not a picture, and not for the public")
    n = len(IDS)
    table = pa.table(
        {
            "id": IDS,
            "image": ["0.jpg", *(f"{i}.png" for i in range(1, n))],
            "site": [None, *("ab" * n)[1:n]],
            "count": pa.array(range(n), pa.int16()),
            "weight": [float("inf"), *(i / 8 for i in range(1, n))],
            "sharp": [i % 2 == 0 for i in range(n)],
            "taken": pa.array([10**15 + i for i in range(n)], pa.timestamp("ns")),
            "boxes": [[i, i + 1] for i in range(n)],
            "raw": [b"\xff\x00"] * n,
        }
    )
    pq.write_table(table, folder / "m.parquet")
    return folder


@pytest.fixture(scope="module")
def output(folder, tiny_model) -> str:
    """A finished job of five shards: two samples for each row, and two rows that failed."""
    job = {
        "manifest": "m.parquet", "output": "out", "actors": 1, "model": tiny_model,
        "sampler": {"nfe": 2}, "shard_rows": 2, "samples": SAMPLES, "uncertainty": True,
        "keep_samples": True, "task": {"kind": "denoise", "noise_level": 0.1},
    }  # fmt: skip
    with chdir(folder):
        run_job(make_job(job, "out"), ProgressLine())
    (folder / f"{IDS.index('vanished')}.png").unlink()
    return f"{folder}/out"


@pytest.fixture(scope="module")
def results(output) -> pa.Table:
    """The results, read by no code of ours."""
    return pq.read_table(f"{output}/results")


@pytest.fixture(scope="module")
def huggingface(tmp_path_factory):
    """The library ``datasets``, which reads its settings when it is imported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("HF_DATASETS_OFFLINE", "1")
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("huggingface")))
        import datasets

        datasets.disable_progress_bars()
        yield datasets


def test_parquet_for_hugging_face(output, results, huggingface, tmp_path):
    result = export(output, tmp_path / "d", "--file-mb", 0.03, "--with-measured")
    files = sorted(path.name for path in (tmp_path / "d" / "data").iterdir())
    n = len(files)
    assert n > 2 and files == [f"train-{i:05d}-of-{n:05d}.parquet" for i in range(n)]
    assert f"{len(IDS)} rows in {n} files: {tmp_path}/d" in result.stdout
    assert "3 measured pictures could not be read again" in result.stderr
    assert "the first of them: 'vanished': image: no such file" in result.stderr

    with files_left_open():
        dataset = huggingface.load_dataset(f"{tmp_path}/d", split="train", cache_dir=tmp_path / "c")
    for name in ("restored", "uncertainty_map", "measured"):
        assert isinstance(dataset.features[name], huggingface.Image)
    assert dataset.features["samples"] == huggingface.List(huggingface.Image())
    assert dataset["id"][:] == IDS
    first = dataset[0]
    assert first["restored"].size == (40, 32) and first["measured"].format == "JPEG"
    assert [sample.size for sample in first["samples"]] == [(40, 32)] * SAMPLES
    gone = dataset[IDS.index("gone")]
    assert gone["restored"] is None and gone["measured"] is None and gone["status"] == "error"
    assert "not for the public" not in str(dataset[IDS.index("secret")])

    table = pq.read_table(tmp_path / "d" / "data")
    assert table.select(results.column_names).cast(results.schema).equals(results)  # types, values
    measured = table["measured"].to_pylist()
    assert [m is None for m in measured] == [name in (*FAILED, "vanished") for name in IDS]


def test_measured_pictures_are_the_files_themselves(folder, output, tmp_path):
    export(output, tmp_path / "d", "--with-measured", "--columns", "image", "--only-ok")
    table = pq.read_table(tmp_path / "d" / "data")
    assert table.column_names == ["id", "image", "restored", "measured"]
    assert table["id"].to_pylist() == RESTORED
    for row in table.to_pylist():
        if row["measured"]:
            assert row["measured"]["bytes"] == (folder / row["image"]).read_bytes()
    paths = [row["path"] for row in table["measured"].to_pylist() if row]
    assert paths[:3] == ["007.jpg", "a/b.c.png.png", "__x__.png"]


def test_parquet_has_what_its_readers_skip_by(output, tmp_path):
    export(output, tmp_path / "d")
    (path,) = (tmp_path / "d" / "data").iterdir()
    footer = pq.ParquetFile(path).metadata
    assert footer.num_row_groups == 1
    chunks = [footer.row_group(0).column(i) for i in range(footer.num_columns)]
    told = {chunk.path_in_schema: chunk.is_stats_set for chunk in chunks}
    assert told["id"] and told["psnr"] and told["sampler.nfe"]
    pictures = ("restored.", "uncertainty_map.", "samples.")
    assert not any(told[path] for path in told if path.startswith(pictures))
    assert all(chunk.has_offset_index for chunk in chunks)


def test_other_readers_of_parquet(output, results, tmp_path):
    import duckdb

    export(output, tmp_path / "d", "--file-mb", 0.03)
    glob = f"{tmp_path}/d/data/*.parquet"
    columns = "id, site, count, octet_length(restored.bytes)"
    found = duckdb.sql(f"select {columns} from '{glob}'").fetchall()
    sizes = [row and len(row["bytes"]) for row in results["restored"].to_pylist()]
    sites = results["site"].to_pylist()
    assert found == list(zip(IDS, sites, range(len(IDS)), sizes, strict=True))
    frame = pd.read_parquet(tmp_path / "d" / "data")
    assert frame["id"].tolist() == IDS and frame["count"].dtype == np.int16
    assert polars.read_parquet(glob)["id"].to_list() == IDS


def test_tar_files_for_webdataset(output, results, folder, tmp_path):
    import webdataset

    result = export(
        output, tmp_path / "d", "--format", "webdataset", "--file-mb", 0.03, "--with-measured"
    )
    assert "2 failed rows left out" in result.stderr
    assert "1 measured pictures could not be read again" in result.stderr
    tars = sorted(str(path) for path in (tmp_path / "d").glob("*.tar"))
    assert len(tars) > 2 and tars[0].endswith("/train-000000.tar")
    with files_left_open():
        samples = list(webdataset.WebDataset(tars, shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == [key_of(name) for name in RESTORED]
    rows = [row for row in results.to_pylist() if row["status"] == "ok"]
    for sample, row in zip(samples, rows, strict=True):
        told = json.loads(sample["json"])
        assert told["id"] == row["id"] and told["boxes"] == row["boxes"]
        assert told["count"] == row["count"] and told["sharp"] is row["sharp"]
        assert told["weight"] == (None if row["weight"] == float("inf") else row["weight"])
        assert told["taken"].startswith("1970-01-12 13:46:40.00000000") and told["raw"] == "/wA="
        assert sample["png"] == row["restored"]["bytes"]
        assert sample["uncertainty.png"] == row["uncertainty_map"]["bytes"]
        for i in range(SAMPLES):
            assert sample[f"sample{i}.png"] == row["samples"][i]["bytes"]
        measured = sample.get("measured.jpg" if row["id"] == "007" else "measured.png")
        path = folder / row["image"]
        assert measured == (path.read_bytes() if path.exists() else None)
    with files_left_open():
        pipeline = webdataset.WebDataset(tars, shardshuffle=False).decode("pil")
        image, told = next(iter(pipeline.to_tuple("png", "json")))
    assert image.size == (40, 32) and told["id"] == "007"


def test_pictures_in_a_folder(output, results, huggingface, tmp_path):
    export(output, tmp_path / "d", "--format", "folder", "--with-measured", "--file-mb", 0.03)
    with (tmp_path / "d" / "train" / "metadata.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:5] == [
        "file_name", "measured_file_name", "uncertainty_map_file_name", "sample0_file_name",
        "sample1_file_name",
    ]  # fmt: skip
    assert [row["id"] for row in rows] == RESTORED  # as they are, "007" too
    assert sorted(path.name for path in (tmp_path / "d").iterdir()) == [
        JOURNAL, "README.md", "train",
    ]  # fmt: skip
    with files_left_open():
        dataset = huggingface.load_dataset(f"{tmp_path}/d", split="train", cache_dir=tmp_path / "c")
    for name in ("image", "measured", "uncertainty_map", "sample0", "sample1"):
        assert isinstance(dataset.features[name], huggingface.Image)
    ok = [row for row in results.to_pylist() if row["status"] == "ok"]
    assert len(dataset) == len(ok)
    for row, result in zip(dataset, ok, strict=True):
        assert (np.asarray(row["image"]) == decoded(result["restored"]["bytes"])).all()
        assert (row["measured"] is None) == (result["id"] == "vanished")
        assert row["count"] == result["count"] and row["manifest_image"] == result["image"]
        assert row["uncertainty"] == result["uncertainty"]
        assert row["psnr"] is None and row["residual"] == result["residual"]


@pytest.mark.parametrize("format", ["parquet", "webdataset", "folder"])
def test_hugging_face_reads_the_card(output, huggingface, tmp_path, format):
    export(output, tmp_path / "d", "--format", format)
    text = (tmp_path / "d" / "README.md").read_text()
    front = yaml.safe_load(text.split("---")[1])
    assert front["license"] == "unknown"
    with files_left_open():
        assert huggingface.get_dataset_split_names(f"{tmp_path}/d") == ["train"]
    from huggingface_hub import DatasetCard

    assert DatasetCard(text).data.configs[0]["config_name"] == "default"


def test_the_card_tells_of_the_job_and_nothing_secret(output, results, folder, tmp_path):
    copy = shutil.copytree(output, tmp_path / "out")
    record = json.loads((copy / "run.json").read_text())
    record["spec"]["model"] = {"path": "https://me:PASSWORD@host/m.pt?sig=SIGNATURE"}
    record["spec"]["task"]["noise_level"] = f"{folder}/level"
    (copy / "run.json").write_text(json.dumps(record))
    export(copy, tmp_path / "d")
    text = (tmp_path / "d" / "README.md").read_text()
    assert results["model"][0].as_py() in text and "nfe: 2" in text and "kind: denoise" in text
    assert f"{len(RESTORED)} images were restored" in text
    assert "2 images could not be restored (1 not_an_image, 1 not_found)" in text
    assert "| residual | 7 |" in text and "| restored | struct" in text
    assert "noise_level: level" in text
    for secret in ("PASSWORD", "SIGNATURE", str(folder)):
        assert secret not in text + (tmp_path / "d" / JOURNAL).read_text()


def stamps(dest) -> dict:
    return {
        str(path.relative_to(dest)): path.stat().st_mtime_ns
        for path in dest.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("format", ["parquet", "webdataset", "folder"])
def test_a_killed_export_goes_on(output, tmp_path, format):
    dest, whole = tmp_path / "d", tmp_path / "whole"
    options = ["--format", format, "--file-mb", "0.02", "--with-measured"]
    command = [sys.executable, "-m", "jobs", "export", output, str(dest), *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        line = process.stderr.readline()
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL and "rows" in line
    finished = json.loads((dest / JOURNAL).read_text())["files"]
    pictures = {name for name in stamps(dest) if name.startswith("train/")}  # of a folder
    before = {name: t for name, t in stamps(dest).items() if name in pictures | finished.keys()}
    assert before and "README.md" not in finished

    result = export(output, dest, *options)
    assert f"({len(finished)} of them there already)" in result.stdout
    after = stamps(dest)
    # What is hidden goes: a folder's rows, and what was being written when the kill came.
    kept = {name for name in before if not name.rpartition("/")[2].startswith(".")}
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    export(output, whole, *options)
    assert after.keys() == stamps(whole).keys()
    for name in after.keys() - {JOURNAL}:
        assert (dest / name).read_bytes() == (whole / name).read_bytes(), name

    export(output, dest, *options)  # nothing is left to do
    assert stamps(dest) == after


def test_a_file_that_was_cut_short_is_written_again(output, tmp_path):
    export(output, tmp_path / "d", "--file-mb", 0.03)
    (tmp_path / "d" / "README.md").write_text("mine now")
    files = sorted((tmp_path / "d" / "data").iterdir())
    whole = files[1].read_bytes()
    files[1].write_bytes(whole[:100])
    result = export(output, tmp_path / "d", "--file-mb", 0.03)
    assert files[1].read_bytes() == whole
    assert f"({len(files) - 1} of them there already)" in result.stdout
    assert (tmp_path / "d" / "README.md").read_text() == "mine now"


def test_what_is_refused_and_nothing_written(output, folder, tmp_path):
    strange = tmp_path / "strange"
    strange.mkdir()
    (strange / "notes.txt").write_text("")
    half = shutil.copytree(output, tmp_path / "half")
    sorted((half / "results").iterdir())[1].unlink()
    benchmark = shutil.copytree(output, tmp_path / "benchmark")
    record = json.loads((benchmark / "run.json").read_text())
    record["spec"]["mode"] = "benchmark"
    (benchmark / "run.json").write_text(json.dumps(record))
    for arguments, words in [
        ((tmp_path, tmp_path / "d"), "is no job's output"),
        ((half, tmp_path / "d"), "1 of 5 shards are missing"),
        ((output, strange), "holds files that are none of this export's (notes.txt)"),
        ((benchmark, tmp_path / "d", "--with-measured"), "is a benchmark's output"),
        ((output, output), "none of this export's (drivers, plan, results and 2 more)"),
        ((output, tmp_path / "d", "--columns", "id,psrn"), "columns: no 'psrn'; there are id, "),
        ((output, tmp_path / "d", "--format", "zip"), "zip"),
        ((output, strange / "notes.txt" / "d"), "cannot be written"),
    ]:
        result = diffpir("export", *arguments)
        assert result.exit_code == 2 and words in " ".join(result.stderr.split()), result.output
        assert not (tmp_path / "d").exists()


def test_another_exports_folder_is_refused(output, tmp_path):
    export(output, tmp_path / "d", "--columns", "psnr")
    before = stamps(tmp_path / "d")
    result = diffpir("export", output, tmp_path / "d", "--columns", "ssim", "--only-ok")
    assert result.exit_code == 2
    assert "columns was ['psnr'], is ['ssim']; only_ok was False, is True" in result.stderr
    (tmp_path / "d" / "data" / "train-00001-of-00002.parquet").write_text("")
    result = diffpir("export", output, tmp_path / "d", "--columns", "psnr")
    assert result.exit_code == 2 and "train-00001-of-00002.parquet" in result.stderr
    (tmp_path / "d" / "data" / "train-00001-of-00002.parquet").unlink()
    (tmp_path / "d" / JOURNAL).write_text("{")
    result = diffpir("export", output, tmp_path / "d", "--columns", "psnr")
    assert result.exit_code == 2 and "is damaged" in result.stderr
    (tmp_path / "d" / JOURNAL).unlink()
    assert stamps(tmp_path / "d").items() <= before.items()


def test_a_job_in_which_nothing_was_restored(folder, tiny_model, huggingface, tmp_path):
    row = {"id": "a", "image": "a.png", "measured": 1, "side_file_name": "x", "sample0": 2}
    (tmp_path / "m.jsonl").write_text(json.dumps(row))
    job = {
        "manifest": f"{tmp_path}/m.jsonl", "output": f"{tmp_path}/out", "actors": 1,
        "model": tiny_model, "sampler": {"nfe": 2}, "task": {"kind": "denoise", "noise_level": 0.1},
    }  # fmt: skip
    run_job(make_job(job, "out"), ProgressLine())
    for options, words in [
        (("--format", "webdataset"), "none of its rows was restored"),
        (("--only-ok",), "none of its rows was restored"),
        (("--with-measured",), "the results have a column 'measured' already"),
        (("--format", "folder"), "column 'side_file_name': a metadata.csv has another use"),
    ]:
        result = diffpir("export", tmp_path / "out", tmp_path / "d", *options)
        assert result.exit_code == 2 and words in result.stderr, result.output
        assert not (tmp_path / "d").exists()
    export(tmp_path / "out", tmp_path / "d")
    with files_left_open():
        dataset = huggingface.load_dataset(f"{tmp_path}/d", split="train", cache_dir=tmp_path / "c")
    assert dataset[0]["restored"] is None and dataset[0]["side_file_name"] == "x"

    photograph(40, 32).save(tmp_path / "a.png")
    run_job(make_job(job, "out"), ProgressLine(), retry_failed=True)
    result = diffpir("export", tmp_path / "out", tmp_path / "d")
    assert result.exit_code == 2
    assert "failed rows of the job were restored once more" in result.stderr
    columns = ("--columns", "measured,sample0")
    export(tmp_path / "out", tmp_path / "f", "--format", "folder", *columns)
    text = (tmp_path / "f" / "train" / "metadata.csv").read_text()
    assert text == "file_name,id,measured,sample0\na.png,a,1,2\n"


def test_a_storage_that_fails_stops_the_export(output, folder, tmp_path):
    """A measured picture that may be there again is not taken for one that is gone."""
    copy = shutil.copytree(output, tmp_path / "out")
    record = json.loads((copy / "run.json").read_text())
    record["spec"] |= {"manifest": "http://127.0.0.1:9/m.parquet", "allowed_schemes": ["http"]}
    record["spec"]["allowed_hosts"] = ["127.0.0.1"]
    (copy / "run.json").write_text(json.dumps(record))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIFFPIR_RETRY_SECONDS", "0")
        result = diffpir("export", copy, tmp_path / "d", "--with-measured")
    assert result.exit_code == 2
    assert "measured picture of '007': image: http://127.0.0.1:9/0.jpg" in result.stderr
    assert "export again when it can be read" in result.stderr
    assert not (tmp_path / "d" / "data").exists()


def test_a_damaged_part_is_one_message(output, tmp_path):
    copy = shutil.copytree(output, tmp_path / "out")
    part = sorted((copy / "results").iterdir())[2]
    data = bytearray(part.read_bytes())
    data[200:300] = bytes(100)
    part.write_bytes(data)
    result = diffpir("export", copy, tmp_path / "d")
    assert result.exit_code == 2 and f"{part} is damaged" in result.stderr


def test_from_s3_to_s3(output, results, s3_prefix, tmp_path):
    fs, path = storage.filesystem(s3_prefix)
    fs.put(output, f"{path}/out", recursive=True)
    for format in ("parquet", "webdataset", "folder"):
        options = ("--format", format, "--file-mb", 0.03, "--with-measured")
        dest = f"{s3_prefix}/{format}"
        export(f"{s3_prefix}/out", dest, *options)
        again = export(f"{s3_prefix}/out", dest, *options)
        assert "of them there already" in again.stdout
        export(output, tmp_path / format, *options)
        fs.invalidate_cache()
        found = fs.find(f"{path}/{format}")
        for key in found:
            local = tmp_path / format / key.removeprefix(f"{path}/{format}/")
            assert fs.cat(key) == local.read_bytes() or local.name == JOURNAL
        assert len(found) == len(stamps(tmp_path / format))
    fs.touch(f"{path}/other/file")
    result = diffpir("export", output, f"{s3_prefix}/other")
    assert result.exit_code == 2 and "none of this export's" in result.stderr


def test_any_storage_that_fsspec_knows(output):
    export(output, "memory://d", "--file-mb", 0.03)
    assert len(fsspec.filesystem("memory").ls("/d/data")) > 2


def test_the_split_into_files():
    parts = [Part(10, 100), Part(0, 50), Part(10, 100), Part(4, 350), Part(1, 900)]
    files = plan_files(parts, 200)
    assert files == [
        [Piece(0, 0, 10), Piece(2, 0, 10)],
        [Piece(3, 0, 2)],
        [Piece(3, 2, 4)],
        [Piece(4, 0, 1)],
    ]
    assert plan_files([], 200) == []


def test_row_groups_are_small_and_whole():
    sizes = [0, 40_000_000, 30_000_000, 70_000_000, *[10] * 250]
    pictures = [{"bytes": bytes(n), "path": ""} if n else None for n in sizes]
    table = pa.table({"id": range(len(sizes)), "restored": pa.array(pictures, PICTURE)})
    groups = list(in_groups([table.slice(0, 2), table.slice(2, 70), table.slice(72)]))
    assert [len(group) for group in groups] == [2, 1, 1, 100, 100, 50]
    assert pa.concat_tables(groups)["id"].to_pylist() == list(range(len(sizes)))
    nested = pa.table({"samples": pa.array([pictures[:2], None, pictures[1:3]], pa.list_(PICTURE))})
    assert [len(group) for group in in_groups([nested])] == [2, 1]


def test_names_of_pictures():
    assert [key_of(name) for name in ("a/b.c.png", "__x__", ".hidden", "a/__b")] == [
        "a/b%2Ec%2Epng", "%5F%5Fx__", "%2Ehidden", "a/%5F%5Fb",
    ]  # fmt: skip
    strange = ["a.b", "a%2Eb", "a/b", "a//b", "/a", "", ".", "..", "../x", "é" * 300, "é" * 301]
    keys = [key_of(name) for name in strange]
    assert len(set(keys)) == len(keys) and not any("." in key for key in keys)
    assert all(len(segment.encode()) <= 200 for key in keys for segment in key.split("/"))
    buffer = io.BytesIO()
    photograph(8, 8).save(buffer, "WEBP")
    assert suffix_of(buffer.getvalue(), "x.png") == ".webp"
    assert suffix_of(b"", "https://h/x.PPM?sig=1") == ".ppm"
    assert suffix_of(b"", "tar://0/9/x.tga::a.tar") == ".tga"
    assert suffix_of(b"", "x.sh") == ".img"
