"""What is on the page of a report: which rows, which numbers, and how much of an output is read."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from benchmarks.outputs import write_output
from jobs.aggregate import metrics_of
from jobs.report.choose import choose
from jobs.report.contents import Contents
from jobs.report.fields import METRIC_FIELDS
from jobs.report.pairs import Pairs
from jobs.report.previews import Gallery
from jobs.report.write import write_report
from jobs.tables import render
from manifests import storage
from pipeline.errors import PipelineError
from tests.command_line import diffpir
from tests.faults import FaultyProxy
from tests.pictures import photograph
from tests.s3 import forget_clients


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """Two runs over the same images, the second one better; it has more of them."""
    folder = tmp_path_factory.mktemp("outputs")
    pictures = [photograph(32, 24), photograph(24, 24, "coffee")]
    one = write_output(folder / "one", 90, shard_rows=20, pictures=pictures, failed_every=9)
    two = write_output(
        folder / "two", 100, shard_rows=20, pictures=pictures, failed_every=1000, offset=1.0
    )
    return one, two


def scores(psnr: list[float | None], kinds: list[str]) -> pa.Table:
    nothing = pa.nulls(len(psnr), pa.float64())
    columns = dict.fromkeys(METRIC_FIELDS, nothing)
    columns["psnr"] = pa.array(psnr, pa.float64())
    status = ["error" if kind else "ok" for kind in kinds]
    return pa.table({"status": status, "error_kind": kinds, **columns})


@given(
    st.lists(
        st.tuples(
            st.none() | st.floats(0, 60) | st.just(np.inf), st.sampled_from(["", "", "", "a", "b"])
        ),
        max_size=60,
    ),
    st.integers(1, 40),
)
@settings(max_examples=100, deadline=None)
def test_a_sample_is_as_large_as_it_may_be_and_has_the_extremes(rows, limit):
    table = scores([psnr for psnr, _ in rows], [kind for _, kind in rows])
    chosen = choose(table, limit)
    assert len(chosen) == len(set(chosen)) == min(limit, len(rows))
    assert (np.sort(chosen) == chosen).all() and (choose(table, limit) == chosen).all()
    good = [(psnr, i) for i, (psnr, kind) in enumerate(rows) if not kind and psnr is not None
            and np.isfinite(psnr)]  # fmt: skip
    failed = {kind for _, kind in rows if kind}
    if len(good) > 1 and limit >= 8:
        values = {rows[i][0] for i in chosen if not rows[i][1]}
        assert {min(good)[0], max(good)[0]} <= values
    if failed and limit >= 16:
        assert {rows[i][1] for i in chosen} >= failed


def test_numbers_are_those_of_all_rows_whatever_is_shown(outputs):
    payload = Contents(outputs[0], 10).payload(Gallery(10))
    assert len(payload["rows"]) == 10 and "10 of 90" in payload["note"]
    (table,) = (t for t in payload["tables"] if t["title"] == "All images")
    means = {row[0]: row[2] for row in table["rows"]}
    told = {METRIC_FIELDS[r["metric"]].label: r["mean"] for r in metrics_of(outputs[0], None)}
    assert means == pytest.approx(told)
    (groups,) = (t for t in payload["tables"] if t["title"] == "By site")
    assert {row[0] for row in groups["rows"]} == {f"site {i}" for i in range(5)}
    assert sum(kind["count"] for kind in payload["failures"]) == 10
    assert all(example[1] for kind in payload["failures"] for example in kind["examples"])
    actors = next(f for f in payload["figures"] if f["title"] == "Images by actor")
    assert sum(actors["series"][0]["values"]) == 90
    json.dumps(payload, allow_nan=False)


def test_of_a_run_on_s3_only_what_is_shown_is_fetched(s3_prefix, tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)
    local = write_output(tmp_path, 160, shard_rows=10, pictures=[Image.fromarray(noise)])
    size = 0
    for folder, _, names in os.walk(local):
        for name in names:
            path = os.path.join(folder, name)
            with open(path, "rb") as file:
                data = file.read()
            storage.write_bytes(f"{s3_prefix}/run/{os.path.relpath(path, local)}", data)
            size += len(data)
    server = os.environ["AWS_ENDPOINT_URL"]
    try:
        with pytest.MonkeyPatch.context() as patch, FaultyProxy(server, rates={}) as proxy:
            patch.setenv("AWS_ENDPOINT_URL", proxy.url)
            forget_clients()
            payload = Contents(f"{s3_prefix}/run", 3).payload(Gallery(3))
            fetched = proxy.bytes_sent
    finally:
        forget_clients()  # or every later test would ask a proxy that is gone
    assert len(payload["rows"]) == 3
    assert sum(len(row["pictures"]) for row in payload["rows"]) == 9
    # The last bytes of each part, where its index is, and the pictures of the parts of three rows.
    assert 0 < fetched < size / 2


def test_runs_are_compared_image_by_image(outputs):
    payload = Pairs(outputs, 30).payload(Gallery(30))
    place = {field["name"]: i for i, field in enumerate(payload["fields"])}
    found = 0
    for row in payload["rows"]:
        a, b, more = (row["values"][place[name]] for name in
                      ("run:0:psnr", "run:1:psnr", "difference:1:psnr"))  # fmt: skip
        if more is not None:
            assert more == pytest.approx(b - a)
            assert [p["key"] for p in row["pictures"]] == [
                "measured", "restored", "restored-1", "reference",
            ]  # fmt: skip
            found += 1
        else:
            assert row["error"].startswith("A: ") and row["values"][place["status"]] == "error"
    assert found > 20
    mean, better, worse = (tile["value"] for tile in payload["tiles"])
    assert mean > 0.5 and better + worse == 80 and better > worse
    records = payload["tables"][0]["rows"]
    assert dict((r[0], r[4]) for r in records)["PSNR"] == pytest.approx(mean)
    assert not any(" 9" in row["id"] for row in payload["rows"])


def test_runs_that_have_no_image_in_common_are_refused(outputs, tmp_path):
    other = write_output(
        tmp_path, 5, pictures=[photograph(16, 16)], id_of=lambda i: f"other-{i}", failed_every=9
    )
    with pytest.raises(PipelineError, match="no id in common"):
        Pairs([outputs[0], other], 30)


def test_a_page_that_cannot_be_made_is_refused_in_words(tmp_path):
    with pytest.raises(PipelineError, match=r"is an \.html file"):
        write_report([str(tmp_path)], "report.pdf", limit=5)
    empty = write_output(tmp_path, 4, pictures=[photograph(16, 16)], shards=())
    with pytest.raises(PipelineError, match="no results yet"):
        write_report([empty], str(tmp_path / "r.html"), limit=5)
    assert not os.path.exists(tmp_path / "r.html")


def test_one_row_is_shown_in_full_with_its_pictures(outputs, tmp_path):
    done = diffpir("show", outputs[0], "scene-0000003", "-o", str(tmp_path / "shown"))
    assert done.exit_code == 0, done.output
    assert {"site", "psnr", "noise_level"} <= {
        line.split()[0] for line in done.stdout.split("\n")[:-1]
    }
    assert sorted(os.listdir(tmp_path / "shown")) == [
        "measured.png", "reference.png", "restored.webp",
    ]  # fmt: skip
    done = diffpir("show", outputs[0], "scene-0000008", "-o", str(tmp_path / "failed"))
    assert "it is not there" in done.stdout and not (tmp_path / "failed").exists()
    done = diffpir("show", outputs[0], "nobody")
    assert done.exit_code == 2 and "has no row with the id 'nobody'" in done.stderr


def test_tables_are_ruled_on_a_terminal_and_plain_in_a_pipe(outputs):
    command = [sys.executable, "-m", "jobs", "metrics", outputs[0], "--by", "site"]
    piped = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    ours, theirs = os.openpty()
    env = os.environ | {"COLUMNS": "160", "TERM": "xterm"}
    subprocess.run(command, stdout=theirs, env=env, check=True)
    os.close(theirs)
    seen = os.read(ours, 1 << 20).decode()
    os.close(ours)
    assert "─" in seen and "site 3" in seen
    assert "─" not in piped and "\x1b" not in piped and "site 3" in piped


def test_a_value_cannot_steer_the_terminal():
    assert "\x1b" not in render([{"id": "\x1b]0;title\x07[bold]x"}], "table")


def test_a_report_by_the_command_line(outputs, tmp_path):
    file = tmp_path / "r.html"
    done = diffpir("report", *outputs, "-o", str(file), "--limit", "5", "--full", "none")
    assert done.exit_code == 0, done.output
    assert file.stat().st_size > 1e5 and os.listdir(tmp_path) == ["r.html"]
    for wrong, words in (
        ((str(tmp_path / "none"),), "is no job's output"),
        ((*outputs, "--live"), "--live shows one output"),
        ((outputs[0], "--live", "-o", "r.html"), "--live writes no file"),
    ):
        done = diffpir("report", *wrong)
        assert done.exit_code == 2 and words in done.stderr, done.output
