"""A few rows first, then all of them; from several sources; and what a terminal shows of it."""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from tests.command_line import diffpir
from tests.pictures import photograph
from tests.support import ROOT, read_terminal


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two folders with files of the same names, one of which is no picture, and a file apart."""
    folder = tmp_path_factory.mktemp("few")
    for year in ("2023", "2024"):
        (folder / year).mkdir()
        photograph(40, 32, "coffee").save(folder / year / "a.png")
        photograph(32, 32, "chelsea").save(folder / year / "b.png")
    (folder / "2024" / "b.png").write_text("no picture")
    photograph(40, 32).save(folder / "z.png")
    return folder


def job(folder, output, model):
    return [
        "restore", folder / "2023", f"{folder}/2024/*.png", folder / "z.png", "-o",
        folder / output, "--task", "denoise", "--noise", 0.1, "--model", model, "--nfe", 2,
        "--actors", 1,
    ]  # fmt: skip


def results(output):
    """Id -> picture and status, of the parts that there are; no id stands there twice."""
    columns = ["id", "restored", "status"]
    rows = [
        row
        for part in sorted((output / "results").iterdir())
        for row in pq.read_table(part, columns=columns).to_pylist()
    ]
    found = {row.pop("id"): row for row in rows}
    assert len(found) == len(rows)
    return found


@pytest.fixture(scope="module")
def on_terminal(folder, tiny_model):
    """One run of all rows in a process of its own, whose standard error is a terminal.

    Returns its exit code, what it wrote to standard output, and to the terminal.
    """
    ours, theirs = pty.openpty()
    environment = {k: v for k, v in os.environ.items() if k not in ("RAY_ADDRESS", "COLUMNS")}
    with subprocess.Popen(
        [sys.executable, "-m", "jobs", *map(str, job(folder, "whole", tiny_model))],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=environment | {"TERM": "xterm", "PYTHONPATH": str(ROOT)},
        text=True,
    ) as process:
        os.close(theirs)
        sent = read_terminal(ours)
        said = process.stdout.read()
    return process.returncode, said, sent


@pytest.fixture(scope="module")
def whole(folder, on_terminal):
    return results(folder / "whole")


def test_ids_of_several_sources_begin_below_the_folder_that_holds_them_all(whole):
    assert list(whole) == ["2023/a", "2023/b", "2024/a", "2024/b", "z"]


def test_rows_that_were_restored_first_are_kept_and_the_others_are_added(folder, whole, tiny_model):
    command, output = job(folder, "parts", tiny_model), folder / "parts"
    dry = diffpir(*command, "--limit", 2, "--dry-run", "--price-per-hour", 3600)
    assert dry.exit_code == 0 and not output.exists(), dry.output
    words = "there already: nothing\nto restore: 2 rows in 1 shards\n"
    assert f"rows: 5 in 3 shards\n{words}" in dry.stdout
    seconds = re.search(r"time: about 0:00:(\d+) for 0.00", dry.stdout)
    cost = re.search(r"cost: about ([\d.]+), at 3600 an hour", dry.stdout)
    assert abs(float(cost[1]) - int(seconds[1])) < 1

    few = diffpir(*command, "--limit", 2)
    assert few.exit_code == 0 and "2 restored, 0 failed" in few.stdout, few.output
    assert "3 rows are left" in few.stdout and not (output / "summary.json").exists()
    first = {file: file.stat().st_mtime_ns for file in (output / "results").iterdir()}
    assert list(results(output)) == ["2023/a", "2023/b"]
    again = diffpir(*command, "--limit", 2)
    assert again.exit_code == 0 and "2 restored, 0 failed" in again.stdout
    assert diffpir("status", output).stdout == "stopped: 2/5 images\n"

    rest = diffpir(*command)
    assert rest.exit_code == 3 and "4 restored, 1 failed" in rest.stdout, rest.output
    assert "are left" not in rest.stdout
    assert "2/5 images" in rest.stderr or "5/5 images" in rest.stderr
    assert results(output) == whole
    assert all(file.stat().st_mtime_ns == time for file, time in first.items())
    assert diffpir("verify", output).exit_code == 0
    shown = diffpir("sheet", output)
    assert shown.stdout == f"contact sheet: {output}/sheet.png\n"
    assert (output / "sheet.png").exists()
    page = diffpir("report", output)
    assert page.stdout.startswith(f"report: {output}/report.html (")
    assert diffpir("verify", output).exit_code == 0


def test_a_sample_in_an_output_of_larger_shards_restores_these_as_a_whole(
    folder, whole, tiny_model, ray_cluster
):
    command, output = job(folder, "sampled", tiny_model), folder / "sampled"
    one = diffpir(*command, "--sample", 1)
    (chosen,) = results(output)
    assert "4 rows are left" in one.stdout, one.output
    assert results(output)[chosen] == whole[chosen]
    more = diffpir(*command, "--limit", 4)  # in shards that were cut for another choice
    assert chosen in results(output) and len(results(output)) >= 4
    assert ("rows more than asked for" in more.stderr) == (len(results(output)) > 4)
    assert diffpir(*command, "--limit", 1, "--sample", 1).exit_code == 2
    assert diffpir(*command, "--price-per-hour", 1).exit_code == 2


def test_a_fault_names_its_source(folder, tiny_model, tmp_path):
    (tmp_path / "empty").mkdir()
    shutil.copy(folder / "z.png", tmp_path / "m.parquet")
    end = ["-o", tmp_path / "out", "--task", "denoise", "--noise", 0.1]
    for wrong, words in [
        (tmp_path / "gone", f"no such folder, file or prefix: {tmp_path}/gone"),
        (tmp_path / "empty", f"{tmp_path}/empty: no images found"),
        (tmp_path / "m.parquet", f"{tmp_path}/m.parquet: a manifest, Parquet or tar files"),
    ]:
        result = diffpir("restore", folder / "2023", wrong, *end)
        assert result.exit_code == 2 and words in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_terminal_shows_a_line_with_a_bar_and_nothing_of_rays_own(on_terminal):
    code, said, sent = on_terminal
    words = re.sub(r"\x1b\[[0-9;]*[mK]", "", sent)
    assert code == 3 and "4 restored, 1 failed" in said, words
    assert "core_worker" not in words and "RAY_" not in words and "[20" not in words
    *progress, last = words.rstrip().split("\r\n")
    assert last == "failed: 1 not_an_image (their column 'error' says more)"
    drawn = progress[0].split("\r")
    assert "━" in drawn[-1] and "5/5 images, failed: 1 not_an_image" in drawn[-1]
