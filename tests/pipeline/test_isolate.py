"""Bisection to the row that kills its process, with real processes that die."""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter

import pyarrow as pa
import pytest

from pipeline.flow.isolate import ROW_DEATHS, SHARD_DEATHS, Isolated
from pipeline.schema import INDEX, SHARD


class Book:
    """A ledger in a file, which outlives the processes that write it."""

    def __init__(self, path):
        self.path = path

    def _counts(self) -> Counter:
        counts: Counter = Counter()
        for line in self.path.read_text().splitlines() if self.path.exists() else []:
            mark, work = line[0], line[1:]
            counts[work] = counts[work] + 1 if mark == "+" else 0
        return counts

    def _write(self, mark, work) -> None:
        with self.path.open("a") as f:
            f.write(f"{mark}{work}\n")

    def begin(self, work) -> int:
        before = self._counts()[str(work)]
        self._write("+", work)
        return before

    def end(self, work) -> None:
        self._write("-", work)


def table(rows: int, shard: int = 0) -> pa.Table:
    return pa.table(
        {
            SHARD: pa.repeat(shard, rows),
            INDEX: pa.array(range(rows), pa.int64()),
            "error": pa.repeat("", rows),
            "error_kind": pa.repeat("", rows),
        }
    )


class Deadly:
    """A step whose process dies of certain rows."""

    def __init__(self, *deadly):
        self.deadly = deadly

    def __call__(self, rows: pa.Table) -> pa.Table:
        for place, error in zip(rows[INDEX].to_pylist(), rows["error"].to_pylist(), strict=True):
            if place in self.deadly and not error:
                os._exit(9)
        return rows


def run_until_done(step, rows, tmp_path, limit=60):
    """As Ray does: run it again and again while its process dies."""
    context = multiprocessing.get_context("fork")
    for deaths in range(limit):
        receive, send = context.Pipe(duplex=False)
        isolated = Isolated(step, "s", Book(tmp_path / "book"))
        process = context.Process(target=_work, args=(send, isolated, rows))
        process.start()
        send.close()
        try:
            result = receive.recv()
        except EOFError:
            process.join()
            assert process.exitcode == 9
            continue
        process.join()
        return result, deaths
    raise AssertionError("it never ended")


def _work(send, isolated, rows) -> None:
    send.send(isolated(rows))


@pytest.mark.parametrize("rows", [1, 2, 7, 16])
@pytest.mark.parametrize("deadly", [(0,), (5, 6), (0, 3, 15)])
def test_rows_that_kill_are_errors_and_the_others_are_not(rows, deadly, tmp_path):
    deadly = {place for place in deadly if place < rows}
    result, deaths = run_until_done(Deadly(*deadly), table(rows), tmp_path)
    assert result[INDEX].to_pylist() == list(range(rows))
    kinds = result["error_kind"].to_pylist()
    assert [i for i, kind in enumerate(kinds) if kind == "crash"] == sorted(deadly)
    assert set(kinds) <= {"crash", ""}
    # The shard, then its halves down to the row: the cost of each deadly row is bounded.
    assert deaths <= SHARD_DEATHS + len(deadly) * (rows.bit_length() + ROW_DEATHS)


def test_innocent_rows_whose_process_was_killed_are_only_worked_on_in_halves(tmp_path):
    book = Book(tmp_path / "book")
    for _ in range(SHARD_DEATHS + 3):
        book.begin(("s", 4, 0, 7))
    sizes = []

    def step(rows):
        sizes.append(len(rows))
        return rows

    isolated = Isolated(step, "s", book)
    both = pa.concat_tables([table(8, shard=4), table(3, shard=5)])
    assert isolated(both).equals(both)
    assert sizes == [4, 4, 3]
    sizes.clear()
    isolated(both)
    assert sizes == [4, 4, 3]
