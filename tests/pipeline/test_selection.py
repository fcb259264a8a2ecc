"""Rows that are restored first: which they are, and shards that hold no others."""

from __future__ import annotations

from itertools import pairwise

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from manifests.sources.base import Batch
from pipeline.output.plan import Shard, shards_in
from pipeline.output.selection import Selection

selections = st.builds(Selection, st.integers(1, 60), st.none() | st.integers(0, 5))


def places(selection, rows):
    return [place for span in selection.spans(rows) for place in span]


@given(selections, st.integers(1, 50))
def test_a_selection_of_more_rows_holds_those_of_fewer(selection, rows):
    chosen = places(selection, rows)
    assert chosen == sorted(set(chosen)) and len(chosen) == min(selection.count, rows)
    assert set(chosen) <= set(range(rows))
    if selection.seed is None:
        assert chosen == list(range(len(chosen)))
    more = places(Selection(selection.count + 7, selection.seed), rows)
    assert set(chosen) <= set(more)
    spans = selection.spans(rows)
    assert all(a.stop < b.start for a, b in pairwise(spans))


@given(
    selections,
    st.lists(st.tuples(st.integers(0, 9), st.sampled_from([None, 0, 1])), min_size=1, max_size=8),
    st.integers(1, 9),
)
def test_a_plan_that_is_cut_for_a_selection_has_every_row_once_and_in_order(
    selection, batches, limit
):
    starts, rows = [], 0
    for count, _ in batches:
        starts.append(rows)
        rows += count
    if not rows:
        return
    source = [
        Batch(pa.table({"id": pa.array(range(start, start + count), pa.int64())}), group)
        for start, (count, group) in zip(starts, batches, strict=True)
    ]
    tables = list(shards_in(source, limit, cuts=selection.cuts(rows)))
    assert [i for table in tables for i in table["id"].to_pylist()] == list(range(rows))
    assert all(0 < len(table) <= limit for table in tables if len(table))
    shards = [Shard(i, "", 0, len(table)) for i, table in enumerate(tables)]
    held = [p for i in sorted(selection.shards(shards)) for p in tables[i]["id"].to_pylist()]
    assert held == places(selection, rows)
    # A plan that was cut without it holds the chosen rows as well, among others.
    whole = list(shards_in(source, limit))
    shards = [Shard(i, "", 0, len(table)) for i, table in enumerate(whole)]
    held = [p for i in selection.shards(shards) for p in whole[i]["id"].to_pylist()]
    assert set(places(selection, rows)) <= set(held)
