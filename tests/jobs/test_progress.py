"""How far a job is, on a terminal of some width."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import sys
import termios

import pytest

from jobs.console import ProgressLine
from pipeline.flow.progress import Progress
from tests.support import read_terminal


def on_terminal(monkeypatch, width, steps):
    """What a terminal of so many columns is sent for these steps of a job."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("COLUMNS", raising=False)
    with os.fdopen(theirs, "w") as terminal, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", terminal)
        with ProgressLine() as line:
            for step in steps:
                line(step)
    return read_terminal(ours)


def shown(sent):
    """The lines, as they were drawn one after the other, without colours."""
    return [re.sub(r"\x1b\[[0-9;]*[mK]", "", line) for line in re.split(r"\r\n|\r", sent) if line]


@pytest.mark.parametrize("width", [40, 100, 300])
def test_the_line_fits_the_terminal_and_says_all_that_there_is_room_for(monkeypatch, width):
    error = "a/b: image: no such\nfile \x1b[2J" + 200 * "x"
    steps = [
        Progress(4, 0, 0, 0, 1.0),
        Progress(4, 3, 2, 3, 6.0, {"damaged": 1, "not_found": 1}, error),
        Progress(4, 4, 2, 4, 8.0, {"damaged": 1, "not_found": 1}, error),
        Progress(4, 4, 2, 4, 8.5, {"damaged": 1, "not_found": 1}, error),  # told twice
    ]
    sent = on_terminal(monkeypatch, width, steps)
    lines = shown(sent)
    assert len(lines) == 3 and max(map(len, lines)) < width
    assert sent.count("\n") == 1 and sent.endswith("\n")  # rewritten, and at last left
    assert "\x1b[2J" not in sent and "━" in sent
    assert "3/4 images" in lines[1]
    if width == 300:
        rest = "3/4 images, failed: 1 damaged, 1 not_found, 0.50 images/s, 0:00:02 left"
        assert f"{rest}; a/b: image: no such file" in lines[1] and lines[1].endswith("…")


def test_a_line_that_ends_early_is_left_before_words_follow(monkeypatch):
    assert on_terminal(monkeypatch, 80, [Progress(4, 1, 0, 1, 2.0)]).endswith("\r\n")


def test_a_log_has_a_line_in_ten_seconds(capsys):
    with ProgressLine() as line:
        for second in range(35):
            line(Progress(40, second, 1, second, float(second), {"damaged": 1}, "a: damaged"))
        line(Progress(40, 40, 1, 40, 36.0, {"damaged": 1}))
        line(Progress(7, 0, 0, 0, 1.0))  # another job
        line(Progress(7, 7, 0, 7, 2.0))
        line(Progress(9, 0, 0, 0, 3.0))
    words = capsys.readouterr().err.splitlines()
    counts = [text.split(" ")[0] for text in words]
    assert counts == ["1/40", "12/40", "23/40", "34/40", "40/40", "0/7", "7/7", "0/9"]
    assert words[1] == "12/40 images, failed: 1 damaged, 1.00 images/s, 0:00:28 left"
