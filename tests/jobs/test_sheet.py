"""Contact sheets of real outputs: pictures of every kind and size, failures, missing files."""

from __future__ import annotations

import json
import shutil
from contextlib import chdir

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jobs.console import ProgressLine
from jobs.drawing import GAP, TEXT
from jobs.sheet import sheet_rows
from jobs.specfile import make_job
from jobs.thumbnails import liveliest
from pipeline.run import run_job
from tests.command_line import diffpir
from tests.pictures import decoded, photograph

pytestmark = pytest.mark.usefixtures("ray_cluster")
SIDE = 64


def sheet(*arguments):
    return diffpir("sheet", *arguments)


def run(folder, name: str, rows: list[dict], **job) -> str:
    """A finished job over these rows, its paths relative to the folder; its output."""
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    job |= {"manifest": f"{name}.jsonl", "output": name, "actors": 1}
    with chdir(folder):
        run_job(make_job({**job, "sampler": {"nfe": 2}}, name), ProgressLine())
    return f"{folder}/{name}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sheet")
    photograph(100, 80).save(folder / "large.png")
    photograph(20, 16).save(folder / "small.png")
    clear = photograph(40, 32).convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize((40, 32)))
    clear.save(folder / "clear.png")
    deep = np.asarray(photograph(40, 32).convert("L")).astype(np.uint16) * 257
    Image.fromarray(deep).save(folder / "deep.png")
    return folder


@pytest.fixture(scope="module")
def restored(folder, tiny_model):
    """Pictures of four kinds, and a row without one; a part for each."""
    rows = [{"id": name, "image": f"{name}.png"} for name in ("large", "clear", "deep", "small")]
    rows[2]["reference"] = "deep.png"
    rows[3]["noise_level"] = 0.1
    rows.append({"id": "gone", "image": "gone.png"})
    return run(
        folder, "restored", rows, shard_rows=1, model=tiny_model, picture={"bits": 16},
        task={"kind": "denoise", "noise_level": "auto"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def measured(folder, tiny_model):
    """A benchmark of super-resolution."""
    rows = [{"id": "large", "image": "large.png"}]
    np.save(folder / "kernel.npy", np.ones((4, 4)))
    task = {"kind": "sr", "factor": 4, "kernel": "kernel.npy", "noise_level": 0.05}
    return run(folder, "measured", rows, model=tiny_model, mode="benchmark", task=task)


def test_rows_of_every_kind_of_picture(restored):
    large, clear, deep, small, gone = sheet_rows(restored, 9, SIDE)
    whole, part = large.lines
    assert [cell.caption for cell in whole] == ["measured", "restored"]
    assert {cell.picture.size for cell in whole} == {(64, 51)}
    assert [cell.caption for cell in part] == ["measured at 100 %", "restored at 100 %"]
    assert {cell.picture.size for cell in part} == {(64, 64)}
    assert large.title.startswith("large: denoise, noise 0.")
    assert large.title.endswith(" (estimated)")

    shown = np.asarray(clear.lines[0][0].picture)
    assert len(clear.lines) == 1 and (shown[0] > 250).all() and shown[-1].std() > 20  # on white

    assert [cell.caption.split()[0] for cell in deep.lines[0]] == [
        "measured", "restored,", "reference",
    ]  # fmt: skip
    assert "dB" in deep.lines[0][0].caption and "dB" in deep.lines[0][1].caption
    grey = np.asarray(photograph(40, 32).convert("L"))
    assert (np.asarray(deep.lines[0][2].picture) == grey[:, :, None]).all()

    assert small.title == "small: denoise, noise 0.1"  # the row's own
    assert small.lines[0][1].picture.size == (60, 48)  # each pixel as 3 x 3
    assert gone.lines == () and "no such file" in gone.words


def test_a_benchmark_shows_what_it_made(measured):
    (row,) = sheet_rows(measured, 9, SIDE)
    assert row.title == "large: sr x4, file, noise 0.05"
    assert [len(line) for line in row.lines] == [3, 3]
    assert {cell.picture.size for cell in row.lines[0]} == {(64, 51)}  # 25 x 20 were measured
    result = pq.read_table(f"{measured}/results").to_pylist()[0]
    picture = Image.fromarray(decoded(result["restored"]["bytes"]))
    part = row.lines[1][1].picture
    assert (np.asarray(part) == np.asarray(picture.crop(liveliest(picture, SIDE)))).all()
    blurred, sharp = (np.asarray(row.lines[1][i].picture, float) for i in (0, 2))
    assert np.corrcoef(blurred.ravel(), sharp.ravel())[0, 1] > 0.8  # of the same place


def test_only_the_parts_of_the_rows_shown_are_read(restored, tmp_path):
    shutil.copytree(restored, tmp_path / "out")
    parts = sorted((tmp_path / "out" / "results").iterdir())
    parts[1].write_bytes(b"broken")
    result = sheet(tmp_path / "out", "-o", tmp_path / "s.png", "--limit", 1)
    assert result.exit_code == 0 and "1 of 5 rows" in result.stderr
    result = sheet(tmp_path / "out", "-o", tmp_path / "s.png", "--limit", 2)
    assert result.exit_code == 2 and "is damaged" in result.stderr


def test_one_sheet_of_two_outputs_wherever_they_lie(restored, measured):
    memory = fsspec.filesystem("memory")
    memory.put(restored, "/out", recursive=True)
    result = sheet("memory://out", measured, "-o", "memory://s.png", "--side", SIDE)
    assert result.exit_code == 0, result.output
    assert result.stderr == f"memory://out: 5 of 5 rows\n{measured}: 1 of 1 rows\n"
    picture = decoded(memory.cat("/s.png"))
    # The widest row has three cells; all six rows stand side by side, the highest has two lines.
    assert picture.shape == (3 * TEXT + 51 + 64 + 2 * GAP, 6 * (3 * (SIDE + GAP) + GAP), 3)


def test_what_is_gone_since_is_said_in_its_row(folder, tiny_model, tmp_path):
    shutil.copy(folder / "small.png", tmp_path)
    task = {"kind": "denoise", "noise_level": 0.1}
    output = run(tmp_path, "out", [{"id": "a", "image": "small.png"}], model=tiny_model, task=task)
    (tmp_path / "small.png").unlink()
    (row,) = sheet_rows(output, 9, SIDE)
    assert [cell.caption for cell in row.lines[0]] == ["restored"]
    assert row.words == f"image: no such file: {tmp_path}/small.png"
    assert sheet(output, "-o", tmp_path / "s.png").exit_code == 0


def test_a_wrong_option_is_one_message(restored, tmp_path):
    for arguments, words in [
        ((restored, "-o", tmp_path / "s.gif"), "a sheet is one of .png"),
        ((tmp_path, "-o", tmp_path / "s.png"), "is no job's output"),
    ]:
        result = sheet(*arguments)
        assert result.exit_code == 2 and words in result.stderr, result.output


def test_what_is_shown_at_100_percent_is_where_the_edges_are():
    picture = np.zeros((200, 300, 3), np.uint8)
    picture[150:190:16, 220:280] = 255
    left, top, right, bottom = liveliest(Image.fromarray(picture), 64)
    assert (right - left, bottom - top) == (64, 64)
    assert left <= 236 and right >= 264 and top <= 152 and bottom >= 186
    for size in ((300, 3), (3, 300), (70, 65)):
        box = liveliest(Image.new("RGB", size), 64)
        assert 0 <= box[0] < box[2] <= size[0] and 0 <= box[1] < box[3] <= size[1]
