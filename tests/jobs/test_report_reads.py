"""What a report fetches of its parts, counted between it and a real S3 server."""

from __future__ import annotations

import os

import pytest

from benchmarks.report import ROWS, write_parts
from jobs.compare import compare
from jobs.report import report
from pipeline.output.layout import Layout
from tests.faults import FaultyProxy
from tests.s3 import forget_clients

PARTS = 12


def test_a_report_does_not_fetch_the_images(s3_prefix):
    size = write_parts(Layout(s3_prefix), PARTS, 100_000)
    server = os.environ["AWS_ENDPOINT_URL"]
    try:
        with pytest.MonkeyPatch.context() as patch, FaultyProxy(server, rates={}) as proxy:
            patch.setenv("AWS_ENDPOINT_URL", proxy.url)
            forget_clients()
            records = report(s3_prefix, "site")
            fetched = proxy.bytes_sent
            records_of_pairs, counts = compare(s3_prefix, s3_prefix)
    finally:
        forget_clients()  # or every later test would ask a proxy that is gone
    assert sum(r["count"] for r in records if r["metric"] == "psnr") == PARTS * ROWS
    assert {r["site"] for r in records} == {"0", "1", "2"}
    assert counts["both"] == PARTS * ROWS
    assert all(r["difference"] == 0 and r["p"] is None for r in records_of_pairs)
    assert 0 < fetched < size / 15
