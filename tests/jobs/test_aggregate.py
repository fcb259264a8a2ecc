"""What tables of metrics make of the parts of an output, and what of them is fetched."""

from __future__ import annotations

import json
import os
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.metrics import ROWS, RUN, write_parts
from jobs.aggregate import FIELDS, metrics_of
from jobs.compare import compare, letter
from jobs.results import METRICS
from jobs.tables import Style, render
from manifests import storage
from pipeline.errors import PipelineError
from pipeline.output.layout import Layout
from pipeline.output.parts import Part, create_part, tally_of
from tests.command_line import diffpir
from tests.faults import FaultyProxy
from tests.s3 import forget_clients

PARTS = 12


def output_of(folder, planned: int = 3, **columns) -> str:
    """A job's output: one shard, its rows with these columns and metrics, and more if planned."""
    (rows,) = {len(column) for column in columns.values()}
    values = {name: pa.array(np.arange(rows) + 30.0) for name in METRICS if name != "gain"}
    common = {"status": ["ok"] * rows, "error_kind": [""] * rows}
    table = pa.table({"id": [str(i) for i in range(rows)], **common, **values, **columns})
    layout = Layout(str(folder))
    plan = [{"file": "0.parquet", "rows": [rows, planned - rows] if planned > rows else [rows]}]
    storage.write_bytes(layout.run, json.dumps({"id": RUN, "identity": {}, "plan": plan}).encode())
    create_part(layout, Part(0, 0, RUN), table, tally_of(table))
    return str(folder)


def test_metrics_do_not_fetch_the_images(s3_prefix):
    size = write_parts(Layout(s3_prefix), PARTS, 100_000)
    server = os.environ["AWS_ENDPOINT_URL"]
    try:
        with pytest.MonkeyPatch.context() as patch, FaultyProxy(server, rates={}) as proxy:
            patch.setenv("AWS_ENDPOINT_URL", proxy.url)
            forget_clients()
            records = metrics_of(s3_prefix, "site")
            fetched = proxy.bytes_sent
            records_of_pairs, counts = compare(s3_prefix, s3_prefix)
    finally:
        forget_clients()  # or every later test would ask a proxy that is gone
    assert sum(r["count"] for r in records if r["metric"] == "psnr") == PARTS * ROWS
    assert {r["site"] for r in records} == {"0", "1", "2"}
    assert counts["both"] == PARTS * ROWS
    assert all(r["difference"] == 0 and r["p"] is None for r in records_of_pairs)
    assert 0 < fetched < size / 15


@pytest.mark.parametrize("name", sorted(FIELDS | {"gain", "status ", "__group", "a.b"}))
def test_a_users_column_is_a_group_whatever_its_name(tmp_path, name):
    out = output_of(tmp_path, **{name: ["x", "y", "x"]})
    records = metrics_of(out, name)
    heading = f"by {name}" if name in FIELDS else name
    assert {record[heading]: record["rows"] for record in records} == {"x": 2, "y": 1}
    assert {record["metric"] for record in records} == set(METRICS)
    gains = [record["mean"] for record in records if record["metric"] == "gain"]
    assert gains == [0.0, 0.0]  # of the metrics, whatever the user's own column of that name holds
    for style in Style:
        assert heading in render(records, style)


def test_a_gain_that_is_not_stored_is_the_computed_one(tmp_path):
    assert {
        r["gain"]: r["rows"] for r in metrics_of(output_of(tmp_path, site=["a"] * 3), "gain")
    } == {0.0: 3}


@pytest.mark.parametrize(
    "column, sizes",
    [
        (pa.array([2**63 + 1, 2**63, 2**63 + 1], pa.uint64()), {2**63: 1, 2**63 + 1: 2}),
        (pa.array(np.array([0.5, 2, 0.5], np.float16)), {0.5: 2, 2.0: 1}),
        (pa.array([0.0, -0.0, float("nan")]), {0.0: 2, None: 1}),
        (pa.array([None, True, True]), {True: 2, None: 1}),
        (pa.nulls(3), {None: 3}),
        (pa.array([1, 2, 1], pa.timestamp("ns")), [2, 1]),
        (pa.array([1, 2, 1], pa.duration("ns")), [2, 1]),
        (pa.array([1, 2, 1], pa.time64("ns")), {"00:00:00.000000001": 2, "00:00:00.000000002": 1}),
        (pa.array([b"b", b"a", b"b"]), {b"a": 1, b"b": 2}),
        (pa.array([Decimal("1.10"), Decimal("0.10"), None]), [1, 1, 1]),
        (pa.array(["a", "b", "a"]).dictionary_encode(), {"a": 2, "b": 1}),
    ],
)
def test_groups_are_right_for_every_type_that_has_equality(tmp_path, column, sizes):
    records = [
        r for r in metrics_of(output_of(tmp_path, site=column), "site") if r["metric"] == "psnr"
    ]
    found = {record["site"]: record["rows"] for record in records}
    assert (found if isinstance(sizes, dict) else list(found.values())) == sizes
    assert sum(record["count"] for record in records) == 3
    for style in Style:
        render(records, style)


def test_what_is_no_group_is_said_in_words(tmp_path):
    out = output_of(tmp_path, site=[[1], [2], None], place=[{"x": 1}] * 3)
    with pytest.raises(PipelineError, match=r"cannot group by column 'site': it holds list<"):
        metrics_of(out, "site")
    with pytest.raises(PipelineError, match="'place': it holds struct"):
        metrics_of(out, "place")
    with pytest.raises(PipelineError, match="no column ''; there are id, status"):
        metrics_of(out, "")


def test_metrics_of_an_unfinished_job_say_so(tmp_path):
    out = output_of(tmp_path / "some", site=["a"] * 3, planned=10)
    whole = output_of(tmp_path / "all", site=["a"] * 3)
    note = f"{out}: 3 of 10 rows: the job is not finished\n"
    for arguments, notes in [
        (("metrics", out), note),
        (("metrics", whole), ""),
        (("compare", whole, out), note),
        (("compare", out, out), note),
    ]:
        result = diffpir(*arguments)
        assert result.exit_code == 0 and result.stdout
        assert "".join(line for line in result.stderr.splitlines(True) if "job is" in line) == notes


def test_several_runs_are_compared_with_the_first(tmp_path):
    a, b = (output_of(tmp_path / name, site=["x"] * 3) for name in "ab")
    c = output_of(tmp_path / "c", site=["x"] * 2)  # of two of the three pictures
    result = diffpir("compare", a, b, c, "--format", "json")
    assert result.exit_code == 0
    records = json.loads(result.stdout)
    assert [(r["metric"], r["run"], r["pairs"]) for r in records[:4]] == [
        ("psnr", "B", 3), ("psnr", "C", 2), ("psnr_y", "B", 3), ("psnr_y", "C", 2),
    ]  # fmt: skip
    assert f"B is {b}: 3 ids in both (failed: 0 in A, 0 in B), 0 only in A, 0 only in B" in (
        result.stderr
    )
    assert f"C is {c}: 2 ids in both (failed: 0 in A, 0 in C), 1 only in A" in result.stderr
    assert [letter(place) for place in (0, 25, 26, 27, 52)] == ["A", "Z", "AA", "AB", "BA"]
    assert diffpir("compare", a).exit_code == 2
