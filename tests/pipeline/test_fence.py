"""The child process that decodes: what a deadly file costs, and what it must not cost."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import PipelineError, RowError
from pipeline.fence import decoders
from pipeline.pictures import decode
from tests.pictures import photograph, save_broken, save_kinds

ROOT = Path(__file__).parents[2]


def saved(picture, kind="PNG", **options):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


WHOLE = saved(photograph())


def child() -> int:
    decoders.decode_image(WHOLE)
    return decoders._fence._process.pid


@pytest.fixture
def hook(tmp_path, monkeypatch):
    """Readers that only tests have, in the children that are started from now on."""
    readers = """
import sys, time
from pipeline.pictures import decode

def endless(data, max_pixels):
    while True:
        pass

def asleep(data, max_pixels):
    time.sleep(1000)

def crash(data, max_pixels):
    import ctypes
    ctypes.string_at(1)

def greedy(data, max_pixels):
    return [bytearray(2**24) for _ in range(2**20)]

def ends(data, max_pixels):
    sys.exit(3)

def second_dies(data, max_pixels, seen=[]):
    seen.append(data)
    return len(seen) if len(seen) == 1 else crash(data, max_pixels)

def large(data, max_pixels):
    import numpy as np
    return np.arange(max_pixels, dtype=np.uint8)

for value in (endless, asleep, crash, greedy, ends, second_dies, large):
    setattr(decode, value.__name__, value)
"""
    (tmp_path / "sitecustomize.py").write_text(readers)
    monkeypatch.setattr(sys, "path", [str(tmp_path), str(ROOT), *sys.path])
    decoders._fence.stop()
    yield
    decoders._fence.stop()


def ask(reader, data=b"x", seconds=60.0, max_pixels=2**20):
    return decoders._fence.decode(reader, data, (), {"max_pixels": max_pixels}, seconds)


def test_pictures_are_the_same_on_both_sides(tmp_path):
    for path in (*save_kinds(tmp_path).values(), *save_broken(tmp_path).values()):
        data, pictures, errors = path.read_bytes(), [], []
        for module in (decode, decoders):
            try:
                pictures.append(module.decode_picture(data))
            except RowError as e:
                errors.append((e.kind, str(e)))
        if errors:
            assert errors[0] == errors[1] and not pictures
        else:
            here, there = pictures
            assert np.array_equal(here.pixels, there.pixels) and here.metadata == there.metadata
            assert here.pixels.dtype == there.pixels.dtype
            assert np.array_equal(here.alpha, there.alpha)


@pytest.mark.parametrize(
    "reader, kind, words",
    [
        ("endless", "timeout", "took longer than 0.5 s"),
        ("asleep", "timeout", "took longer than 0.5 s"),
        ("crash", "crash", "died (signal SIGSEGV)"),
        ("ends", "crash", "died (exit status 3)"),
        ("greedy", "out_of_memory", "memory"),
    ],
)
def test_a_deadly_file_is_an_error_within_seconds_and_the_next_one_is_decoded(
    hook, reader, kind, words
):
    child()
    began = time.monotonic()
    with pytest.raises(RowError) as e:
        ask(reader, seconds=0.5 if kind == "timeout" else 30)
    assert e.value.kind == kind and words in str(e.value)
    assert decoders.decode_image(WHOLE).shape == (40, 48, 3)
    assert time.monotonic() - began < 30


def test_a_file_does_not_pay_for_those_before_it(hook):
    assert ask("second_dies") == 1
    before = decoders._fence._process.pid
    assert ask("second_dies") == 1  # it died, and was asked for again in a fresh child
    assert decoders._fence._process.pid != before


def test_a_child_that_was_killed_while_it_waited_costs_nothing():
    os.kill(child(), signal.SIGKILL)
    time.sleep(0.1)
    assert decoders.decode_image(WHOLE).shape == (40, 48, 3)


def test_a_child_that_does_not_answer_is_killed(monkeypatch):
    monkeypatch.setattr(decoders, "LATE_SECONDS", 0.1)
    stopped = child()
    os.kill(stopped, signal.SIGSTOP)  # its alarm is no end to it
    with pytest.raises(RowError, match="took longer than") as e:
        decoders.decode_image(WHOLE, seconds=0.4)
    assert e.value.kind == "timeout" and not os.path.exists(f"/proc/{stopped}")


def test_large_files_and_pictures_go_through_whole(hook):
    pixels = np.random.default_rng(0).integers(0, 256, (2000, 3000, 3), dtype=np.uint8)
    from PIL import Image

    data = saved(Image.fromarray(pixels), "TIFF")
    assert np.array_equal(decoders.decode_image(data), pixels)
    size = 2**25 + 5
    assert np.array_equal(ask("large", max_pixels=size), np.arange(size, dtype=np.uint8))
    assert os.fstat(decoders._fence._channel.file).st_size <= 2**24


def test_threads_take_turns():
    files = {width: saved(photograph(width, 20)) for width in range(20, 28)}
    wrong = []

    def work(width):
        for _ in range(20):
            if decoders.decode_image(files[width]).shape != (20, width, 3):
                wrong.append(width)

    threads = [threading.Thread(target=work, args=(width,)) for width in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_fork_has_a_child_of_its_own():
    pid = child()
    read, write = os.pipe()
    if os.fork() == 0:
        os.write(write, f"{child()} ".encode())
        decoders._fence.stop()
        os._exit(0)
    os.wait()
    assert int(os.read(read, 99)) != pid == child()
    os.close(read)
    os.close(write)


def test_a_child_ends_with_its_parent():
    code = (
        "import os, signal\nfrom tests.pipeline.test_fence import child\n"
        "print(child(), flush=True)\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    place = Path("/proc", run.stdout.strip(), "cmdline")
    end = time.monotonic() + 10
    while place.exists() and place.read_bytes() and time.monotonic() < end:
        time.sleep(0.05)
    assert not place.exists() or not place.read_bytes()  # gone, or a zombie


def test_a_child_that_cannot_start_is_an_error_of_the_job(tmp_path, monkeypatch):
    (tmp_path / "imagecodecs.py").write_text("raise ImportError('a library is missing')")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    decoders._fence.stop()
    with pytest.raises(PipelineError, match="a library is missing"):
        decoders.decode_image(WHOLE)


def test_children_bring_no_more_than_they_need():
    code = "import pipeline.fence.child, sys; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not {"ray", "torch", "scipy", "pyarrow", "fsspec"} & set(run.stdout.split())
