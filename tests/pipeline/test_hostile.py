"""Files that were made, or happened, to break programs: through the decoders and the whole flow."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pyarrow.dataset as ds
import pytest

from jobs.verify import verify_output
from pipeline.errors import ERROR_KINDS
from pipeline.run import run_job
from pipeline.spec.job import JobSpec
from tests.pictures import decoded, photograph
from tests.soak import Case, Worker, cases_of, seed_cases, soak
from tests.support import SHARED

CORPUS = SHARED / "data" / "hostile"
BASE_MEMORY = 128 * 2**20  # Python, numpy, Pillow
BYTES_PER_PIXEL = 24  # while an image is decoded
SECONDS = 10  # per file, of CPU time
needs_corpus = pytest.mark.skipif(
    not CORPUS.exists(), reason=f"no corpus of hostile files at {CORPUS}"
)


@pytest.fixture(scope="module")
def corpus() -> dict[str, dict]:
    """What Pillow alone makes of each file, by name: whether it opens, size, frames."""
    with (CORPUS / "expect.csv").open() as f:
        rows = {row["file"]: row for row in csv.DictReader(f)}
    assert len(rows) > 100
    return rows


def pixels(row: dict) -> int:
    """By the header; 0 where Pillow does not even open the file."""
    return math.prod(int(side) for side in row["size"].split("x")) if row["size"] else 0


# Of signed numbers only a job's range can tell which are black and white.
SIGNED = "pillow/separate_planar_extra_samples.tiff"


def is_tiff(name: str) -> bool:
    """Of which some are read that Pillow does not open: arrays of numbers."""
    return name.endswith((".tif", ".tiff"))


def expected(row: dict, max_pixels: int) -> str | None:
    """``array``, or the kind of error; None: an error of whatever kind."""
    if row["opens"] != "yes" or row["file"] == SIGNED:
        return None
    if pixels(row) > max_pixels:
        return "too_large"
    if row["frames"] != "1" and row["format"] != "MPO":  # animations and pages are not one image
        return "several_frames"
    return "array"


@needs_corpus
def test_hostile_files_are_arrays_or_errors_in_bounded_memory_and_time(corpus):
    max_pixels = 2**25
    with Worker(seconds=SECONDS, max_pixels=max_pixels) as worker:
        for name, row in corpus.items():
            outcome = worker.decode(Case(name, "image", (CORPUS / name).read_bytes()))
            wanted = expected(row, max_pixels)
            assert outcome.good, (name, outcome)
            assert wanted in (None, outcome.kind or outcome.status), (name, outcome)
            assert wanted or outcome.status == "error" or is_tiff(name), (name, outcome)
            limit = BASE_MEMORY + BYTES_PER_PIXEL * min(pixels(row), max_pixels)
            assert outcome.peak < limit, (name, outcome)


def test_mutated_files_are_arrays_or_errors():
    """A sample; ``python -m tests.soak`` takes as many as are wanted."""
    tally = soak(cases_of(seed_cases(), 200, seed=7))
    assert not tally.bad
    found = {status for status, _ in tally.outcomes}
    assert found == {"array", "error"} and tally.outcomes.total() == 200


def test_the_soak_sees_what_is_not_an_array_or_an_error():
    slow = b"P3 4000 4000 255 " + b"1 " * (3 * 4000 * 4000)  # read by Python code
    whole = Case("whole", "image", b"P3 1 1 255 1 2 3")
    with Worker(seconds=5, max_pixels=2**27) as worker:
        assert worker.decode(Case("slow", "image", slow)).status == "death"
        assert worker.decode(whole).status == "array"  # by a fresh process
    tally = soak(iter([Case("no such reader", "film", b"x"), whole]))
    assert [case.name for case, _ in tally.bad] == ["no such reader"]
    assert tally.outcomes["array", ""] == 1


@needs_corpus
def test_hostile_files_through_the_flow_are_rows_and_their_neighbours_are_restored(
    corpus, ray_cluster, tiny_model, tmp_path
):
    max_pixels = 2**15
    rows = [{"id": name, "image": str(CORPUS / name)} for name in corpus]
    for place in (0, 50, len(rows)):
        path = tmp_path / f"good-{place}.png"
        photograph(40, 32).save(path)
        rows.insert(place, {"id": path.name, "image": str(path)})
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    spec = JobSpec.model_validate(
        {
            "manifest": str(tmp_path / "m.jsonl"),
            "output": str(tmp_path / "out"),
            "task": {"kind": "denoise", "noise_level": 0.1},
            "model": tiny_model,
            "sampler": {"nfe": 2},
            "actors": 1,
            "max_pixels": max_pixels,
        }
    )
    summary = run_job(spec)
    results = ds.dataset(Path(tmp_path / "out" / "results"), format="parquet").to_table()
    results = sorted(results.to_pylist(), key=lambda row: row["id"])
    print(*(outcome(row) for row in results), sep="\n")  # the table: pytest -s
    assert [row["id"] for row in results] == sorted(row["id"] for row in rows)
    assert summary.rows == len(rows)
    for row in results:
        name = row["id"]
        wanted = expected(corpus[name], max_pixels) if name in corpus else "array"
        if row["status"] == "ok":
            assert wanted == "array" or (wanted is None and is_tiff(name)), name
            assert not row["error"] and not row["error_kind"], name
            assert decoded(row["restored"]["bytes"]).shape[:2] == (row["height"], row["width"])
        else:
            assert row["error"] and row["error_kind"] in ERROR_KINDS, name
            assert row["error_kind"] not in ("crash", "failed"), outcome(row)
            assert wanted in (None, row["error_kind"]), outcome(row)


def outcome(row: dict) -> str:
    return f"{row['id']} -> {row['status']}, {row['error_kind']}, {row['error']}"


ODD_IDS = [
    "with space", "tab\tand\nnewline", "../../up", "..", "/etc/passwd", "%2e%2e%2fup", "100%",
    "x" * 400, "写真" * 100, "🙂", "back\\slash", "a/b/../../../c", ".hidden", "-rf", "*?[x]",
    "#part?x=1", "nul", "s3://bucket/key", "quote'\"", "CON.", " ",
]  # fmt: skip
ODD_FILES = [
    "with space.png", "new\nline.png", "100%.png", "%41.png", "写真.png", "a#b.png", "a?b.png",
    "[x].png", "back\\slash.png", "-rf.png", "é" * 100 + ".png", "deep/" * 40 + "er.png",
]  # fmt: skip


def test_an_id_or_a_path_is_any_text_and_decides_no_place(ray_cluster, tiny_model, tmp_path):
    folder = tmp_path / "in"
    rows = []
    for i, name in enumerate(ODD_IDS):
        path = folder / ODD_FILES[i % len(ODD_FILES)]
        path.parent.mkdir(parents=True, exist_ok=True)
        photograph(24, 20).save(path)
        # Relative paths start from the manifest's folder, and may leave it by "..".
        relative = Path("..", tmp_path.name, "in", path.relative_to(folder))
        rows.append({"id": name, "image": str(relative if i % 2 else path)})
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    job = {
        "manifest": str(tmp_path / "m.jsonl"),
        "output": str(tmp_path / "out"),
        "images": str(tmp_path / "pictures"),
        "task": {"kind": "denoise", "noise_level": 0.1},
        "model": tiny_model,
        "sampler": {"nfe": 2},
        "actors": 1,
    }
    around = set(tmp_path.parent.rglob("*")) - set(tmp_path.rglob("*"))
    summary = run_job(JobSpec.model_validate(job))
    assert summary.failures == {} and summary.rows == len(rows)
    results = ds.dataset(tmp_path / "out" / "results", format="parquet").to_table(["id"])
    assert sorted(results["id"].to_pylist()) == sorted(ODD_IDS)
    assert verify_output(str(tmp_path / "out"))[0] == []
    pictures = [p for p in (tmp_path / "pictures").rglob("*") if p.is_file()]  # slashes: folders
    assert len(pictures) == len(rows)
    assert {path.name for path in tmp_path.iterdir()} == {"in", "m.jsonl", "out", "pictures"}
    assert set(tmp_path.parent.rglob("*")) - set(tmp_path.rglob("*")) == around
