"""``diffpir verify``: whether an output holds what it should, read from its files alone."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.compute as pc

from manifests.digest import content_digest
from manifests.errors import StorageError
from manifests.unique import duplicate_ids
from pipeline.output.layout import Layout
from pipeline.output.parts import Part, Tally, read_part, read_tally, tally_of
from pipeline.output.plan import Shard, read_shard
from pipeline.output.run_folder import RunFolder

# What a file raises that is not, or no longer, what this project wrote: also a column or the
# footer's tally missing, or of another kind.
BROKEN = (StorageError, pa.ArrowException, OSError, ValueError, KeyError, TypeError)
THREADS = 8
NAMED = 10  # ids or files that a finding names at most


def verify_output(output: str) -> tuple[list[str], str]:
    """What is wrong with an output, a line each, and what was looked at.

    Every page of every part is read, and its checksum compared.

    Raises:
        PipelineError: it is no job's output.
        StorageError: it cannot be read.
    """
    folder = RunFolder.open(output)
    layout, record, state, shards = folder.layout, folder.record, folder.state, folder.shards
    findings: list[str] = []

    missing = [shard for shard in shards if shard.index not in state.latest]
    if missing:
        rows = sum(shard.rows for shard in missing)
        findings.append(
            f"not finished: {len(missing)} of {len(shards)} shards ({rows} rows) have no results"
        )
    planned = {shard.index for shard in shards}
    unplanned = [part for i, part in state.latest.items() if i not in planned]
    others = [*state.strange, *(part.name for part in [*state.foreign, *unplanned])]
    if others:
        findings.append(f"results/ holds files of no shard of this run: {_some(others)}")

    def look(shard: Shard) -> tuple[list[str], pa.ChunkedArray, Tally]:
        return _look(layout, shard, state.latest.get(shard.index), record.identity)

    planned_rows, tallies = [], []
    with ThreadPoolExecutor(THREADS) as pool:
        for found, rows, tally in pool.map(look, shards):
            findings += found
            tallies.append(tally)
            if rows is not None:
                planned_rows.append(rows)
    if len(planned_rows) == len(shards):
        if content_digest(planned_rows) != record.identity["manifest"]["sha256"]:
            findings.append("plan/ is not the manifest that the job was started with")
        ids = pa.chunked_array([ids for rows in planned_rows for ids in rows["id"].chunks])
        for value, first, second in duplicate_ids(ids)[:NAMED]:
            findings.append(f"id {value!r} is planned twice, in rows {first} and {second}")
    findings += _superseded(layout, state.superseded)
    total = Tally.total(tallies)
    text = f"{total.rows} rows ({total.failed} failed) in {len(state.latest)} parts"
    return findings, f"{text}: {len(findings) or 'no'} faults"


def _look(layout: Layout, shard: Shard, part: Part | None, identity: dict):
    """Findings about one shard, its rows as planned, and the tally of its part."""
    try:
        rows = read_shard(shard, layout)
    except (StorageError, pa.ArrowException, OSError) as e:
        return [f"plan/{shard.file} cannot be read: {e}"], None, Tally()
    if part is None:
        return [], rows, Tally()
    try:
        results = read_part(layout, part)
        claimed = read_tally(layout, part)
        return list(_faults(part, rows, results, claimed, identity)), rows, claimed
    except BROKEN as e:
        return [f"results/{part.name} cannot be read: {e}"], rows, Tally()


def _faults(part: Part, rows: pa.Table, results: pa.Table, claimed: Tally, identity: dict):
    name = f"results/{part.name}"
    planned, found = rows["id"].to_pylist(), results["id"].to_pylist()
    if planned != found:
        lost, strange = set(planned) - set(found), set(found) - set(planned)
        if lost:
            yield f"{name}: ids are missing: {_some(sorted(lost))}"
        if strange:
            yield f"{name}: ids that are not the shard's: {_some(sorted(strange))}"
        if len(set(found)) < len(found):
            yield f"{name}: ids stand there twice"
    counted = tally_of(results)
    if (counted.rows, counted.failures) != (claimed.rows, claimed.failures):
        yield f"{name}: its footer counts {claimed.failures}, its rows are {counted.failures}"
    ok = pc.equal(results["status"], "ok")
    blank = pc.or_kleene(pc.is_null(results["restored"]), pc.not_equal(results["error"], ""))
    if pc.any(pc.equal(ok, blank)).as_py():
        yield f"{name}: rows that are 'ok' without a picture, or 'error' with one"
    if set(results["model"].unique().to_pylist()) - {identity["model_digest"]}:
        yield f"{name}: restored with another model than the run's"


def _superseded(layout: Layout, parts: list[Part]) -> Iterator[str]:
    for part in parts:
        try:
            if read_tally(layout, part).rows:
                yield f"results/{part.name}: superseded, and still holds rows; run the job again"
        except BROKEN as e:
            yield f"results/{part.name}: superseded, and cannot be read: {e}"


def _some(names: list) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(map(str, names[:NAMED])) + more
