"""A few kills of each kind; ``python -m tests.chaos`` is the long form."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SMALL = ["--rows", "24", "--nfe", "20", "--pause", "2", "--seconds", "240", "--patience", "180"]


def chaos(folder: Path, *options: str) -> dict:
    """Run it in a process of its own, as it starts and kills a whole cluster; its tally."""
    report = folder / "report.json"
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos", *SMALL, *options, "--report", str(report)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, f"{done.stdout[-8000:]}\n{done.stderr[-2000:]}"
    return json.loads(report.read_text())


def test_whatever_is_killed_no_row_is_lost_or_doubled_or_changed(tmp_path):
    tally = chaos(tmp_path, "--kills", "6")
    assert set(tally["kills"]) == {"driver", "actor", "writer", "reader", "worker", "node"}
    assert tally["rows_checked"] >= 2 * 24  # those of the quiet run, and of one round at least
    assert "2" not in tally["exits"]


def test_a_gateway_that_dies_costs_nothing(tmp_path):
    if shutil.which("radosgw") is None and os.environ.get("DIFFPIR_REQUIRE_S3") != "1":
        pytest.skip("no S3 server: radosgw is not installed (scripts/s3-server install)")
    tally = chaos(tmp_path, "--storage", "s3", "--kills", "2", "--kinds", "gateway", "writer")
    assert tally["kills"]["gateway"] >= 1
