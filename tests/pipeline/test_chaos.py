"""A few kills of each kind; ``python -m tests.chaos`` is the long form."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SMALL = ["--rows", "12", "--nfe", "12", "--pause", "1", "--seconds", "240", "--patience", "180"]


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
    """On S3 where its server is installed, with the server's deaths; else on the local disk."""
    on_s3 = shutil.which("radosgw") or os.environ.get("DIFFPIR_REQUIRE_S3") == "1"
    kinds = {"driver", "actor", "writer", "reader", "worker", "node"}
    kinds |= {"model", "actor stopped", "raylet stopped"}
    if on_s3:
        kinds.add("gateway")
    tally = chaos(tmp_path, "--kills", str(len(kinds)), "--storage", "s3" if on_s3 else "local")
    assert set(tally["kills"]) == kinds
    assert tally["rows_checked"] >= 2 * 12  # those of the quiet run, and of one round at least
    assert tally["exits"].get("2", 0) <= 2 * tally["kills"]["model"]
