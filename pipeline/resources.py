"""What a run takes of the cluster: sensible by default, from what the cluster has."""

from __future__ import annotations

from dataclasses import dataclass

import ray

from pipeline.errors import PipelineError
from pipeline.spec import JobSpec

# What actors and steps ask Ray for; the threads that an actor really uses are set apart from it.
# One CPU stays free of actors, or reading would starve on a small machine, and the two numbers
# differ, or Ray would fuse the reading into the actor and nothing would overlap.
ACTOR_CPUS = 0.45
STEP_CPUS = 0.5
CPUS_PER_ACTOR = 4


@dataclass(frozen=True)
class Resources:
    """What a run uses.

    Attributes:
        actors: how many hold a model.
        gpu: whether each has one.
        batch: images per network call at most.
        threads: of the CPU for each actor; None leaves PyTorch's own choice (with a GPU).
    """

    actors: int
    gpu: bool
    batch: int
    threads: int | None


def start_ray() -> None:
    """Connect to ``RAY_ADDRESS``, or start Ray on this machine; nothing if that has been done."""
    if not ray.is_initialized():
        ray.init(include_dashboard=False, log_to_driver=False, logging_level="error")


def plan_resources(spec: JobSpec) -> Resources:
    """Fill in what the specification leaves open, from the connected cluster.

    Raises:
        PipelineError: more actors are asked for than the cluster can ever run at once.
    """
    total = ray.cluster_resources()
    cpus, gpus = int(total.get("CPU", 1)), int(total.get("GPU", 0))
    actors = spec.actors or gpus or max(1, cpus // CPUS_PER_ACTOR)
    room = gpus or max(1, int((cpus - 1) / ACTOR_CPUS))
    if actors > room:
        has = f"{gpus} GPUs" if gpus else f"{cpus} CPUs, room for {room}"
        raise PipelineError(f"actors: the job asks for {actors}, the cluster has {has}")
    if gpus:
        return Resources(actors, True, spec.batch or 16, None)
    nodes = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
    here = -(-actors // len(nodes))  # actors on a node, as Ray spreads them
    return Resources(actors, False, spec.batch or 2, max(1, int(max(nodes)) // here))
