"""What fits on a cluster, by arithmetic alone; tests/jobs/test_cluster.py asks real ones."""

from __future__ import annotations

import pytest

from pipeline.flow.flow import in_flight
from pipeline.flow.room import GIB, room, too_much

CPU4 = {"CPU": 4, "memory": 16 * GIB}
GPU2 = {"CPU": 8, "GPU": 2, "memory": 64 * GIB}


@pytest.mark.parametrize(
    "nodes, actor, step_cpus, expected",
    [
        ([CPU4], {"CPU": 0.45}, 0.5, 6),  # one CPU is left for reading
        ([{"CPU": 1}], {"CPU": 0.45}, 0.5, 1),
        ([{"CPU": 0.5}], {"CPU": 0.45}, 0.5, 0),
        ([{}, CPU4], {"CPU": 4}, 0.5, 0),  # nothing would be left for reading
        ([CPU4, CPU4], {"CPU": 4}, 0.5, 1),
        ([CPU4], {"CPU": 1}, 8, 0),  # a step fits nowhere
        ([CPU4, GPU2], {"CPU": 0.45, "GPU": 1}, 0.5, 2),
        ([CPU4, GPU2], {"CPU": 0.45, "GPU": 0.5}, 0.5, 4),
        ([CPU4, GPU2], {"CPU": 0.45, "GPU": 0.4}, 0.5, 4),  # a share is of one GPU
        ([GPU2, GPU2], {"CPU": 0.45, "GPU": 4}, 0.5, 0),  # on one node, or not at all
        ([CPU4, GPU2], {"CPU": 0.45, "memory": 10 * GIB}, 0.5, 7),
        ([CPU4, {**CPU4, "scanner": 1}], {"CPU": 0.45, "scanner": 0.25}, 0.5, 4),
        ([CPU4], {"CPU": 0.45, "scanner": 1}, 0.5, 0),
    ],
)
def test_room(nodes, actor, step_cpus, expected):
    assert room(nodes, actor, step_cpus) == expected


@pytest.mark.parametrize(
    "nodes, actor, step_cpus, field",
    [
        ([CPU4], {"CPU": 8}, 0.5, "cpus"),
        ([CPU4, CPU4], {"CPU": 0.2, "GPU": 1}, 0.5, "gpus"),
        ([GPU2, GPU2], {"CPU": 0.2, "GPU": 4}, 0.5, "gpus"),
        ([CPU4], {"CPU": 0.2, "memory": 32 * GIB}, 0.5, "memory"),
        ([CPU4], {"CPU": 0.2, "scanner": 1}, 0.5, "resources.scanner"),
        ([CPU4], {"CPU": 0.2}, 8, "step_cpus"),
        ([CPU4], {"CPU": 0.2}, 0.5, "actors"),
        ([CPU4, GPU2], {"CPU": 6, "memory": 8 * GIB}, 0.5, "actors"),
    ],
)
def test_what_is_too_much_is_named(nodes, actor, step_cpus, field):
    assert too_much(nodes, actor, step_cpus) == field


@pytest.mark.parametrize(
    "shards, least, most, expected",
    [
        (4, 2, 2, 1),  # two each, and neither waits while the other works
        (8, 2, 2, 1),
        (9, 2, 2, 2),  # the next is decoded by the time that it is wanted
        (4, 1, 2, 2),  # a pool grows only where shards wait
    ],
)
def test_shards_that_an_actor_is_given_at_a_time(shards, least, most, expected):
    assert in_flight(shards, least, most) == expected
