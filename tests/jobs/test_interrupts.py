"""A job that a person or a scheduler interrupts, in a process and with a Ray of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from tests.pictures import photograph
from tests.support import ROOT

MARK = "DIFFPIR_TEST_RUN"


def processes_with(mark: str) -> list[str]:
    """Command lines of the processes that inherited this mark."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:  # it ended meanwhile
            continue
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
def test_an_interrupted_job_ends_soon_and_says_how_to_go_on(tmp_path, tiny_model, number):
    (tmp_path / "in").mkdir()
    for i in range(9):
        photograph(200, 200).save(tmp_path / "in" / f"{i}.png")
    command = [sys.executable, "-m", "jobs", "restore", tmp_path / "in", "-o", tmp_path / "out"]
    command += ["--task", "denoise", "--noise", "0.1", "--model", tiny_model, "--nfe", "400"]
    mark = uuid.uuid4().hex
    drivers = tmp_path / "out" / "drivers"
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=log, stderr=log, env={**os.environ, MARK: mark}
        )
        patience = time.monotonic() + 60
        while "0/9 images" not in (tmp_path / "log").read_text() and time.monotonic() < patience:
            time.sleep(0.2)
        assert list(drivers.iterdir())
        began = time.monotonic()
        process.send_signal(number)
        time.sleep(0.3)
        process.send_signal(number)  # by somebody impatient
        code = process.wait(30)
    assert time.monotonic() - began < 10
    words = (tmp_path / "log").read_text()
    assert code == 128 + number, words
    assert f"interrupted ({number.name})" in words and "the same command goes on" in words
    assert not any(sign in words for sign in ("Traceback", "***", "\n    @ ")), words
    assert not list(drivers.iterdir())  # others see that this driver has ended
    while processes_with(mark) and time.monotonic() - began < 15:
        time.sleep(0.2)
    assert not processes_with(mark)
