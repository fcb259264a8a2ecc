"""What a run takes of the cluster: sensible by default, from what the cluster has."""

from __future__ import annotations

import logging
import math
import os
import signal
import socket
from dataclasses import dataclass
from typing import Any

import ray
from ray import _raylet
from ray.exceptions import RayError

from diffpir.errors import ConfigError
from diffpir.networks.precision import check_compiler, device_of
from manifests.secrets import HIDDEN, redacted
from pipeline.errors import PipelineError
from pipeline.flow.quiet import quiet_driver
from pipeline.flow.ray_errors import first_line
from pipeline.flow.room import GIB, in_words, room, room_on, too_much, total, usual_on
from pipeline.spec.job import JobSpec

# What actors and steps ask Ray for by default; the threads that an actor really uses are set apart
# from it. One CPU stays free of actors, or reading would starve on a small machine; and they ask
# for little, so that several jobs at once leave each other room to read.
ACTOR_CPUS = 0.2
STEP_CPUS = 0.5
# Of the C library, for the processes of Ray: what a network takes and gives back at every layer
# stays in the process, in place of a system call and fresh pages each time; larger things go back.
# Clusters have it in their image: as an actor's own environment it would cost a new process each.
ALLOCATION = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(2**26),
    "MALLOC_TRIM_THRESHOLD_": str(2**29),
}
CONNECT_SECONDS = 10.0  # for the answer of a cluster's head
ACCELERATOR = "ray.io/accelerator-type"  # Ray's own label of nodes that have one


@dataclass(frozen=True)
class Resources:
    """What a run uses.

    Attributes:
        min_actors, max_actors: how many hold a model; Ray Data keeps to that range.
        batch_pixels: of the images restored together, and per network call at most.
        threads: of the CPU for each actor; None, where no node has room yet, leaves PyTorch's own.
        actor: what Ray is asked for each actor, by Ray's names: CPU, GPU, memory in bytes, others.
        step: options of each task that fetches and decodes, encodes or writes.
    """

    min_actors: int
    max_actors: int
    batch_pixels: int
    threads: int | None
    actor: dict[str, float]
    step: dict[str, Any]

    @property
    def actor_options(self) -> dict[str, Any]:
        """``actor``, by the names that Ray's options have."""
        others = dict(self.actor)
        named: dict[str, Any] = {
            "num_cpus": others.pop("CPU", 0),
            "num_gpus": others.pop("GPU", 0),
        }
        if memory := others.pop("memory", 0):
            named["memory"] = int(memory)
        named["resources"] = others
        return named


def _hide_command_line() -> None:
    """Ray keeps its drivers' command lines for everybody to see, and so does ``ps``."""
    with open("/proc/self/cmdline", "rb") as f:
        words = f.read().decode(errors="replace").removesuffix("\0").split("\0")
    line = " ".join(words)
    title = redacted(line, words)
    if title != line:
        # Of a shorter one Ray would take what is left over for empty arguments.
        missing = len(line.encode()) - len(title.encode())
        title = title.replace(HIDDEN, HIDDEN + "*" * missing, 1)
        _raylet.setproctitle(title)  # type: ignore[attr-defined]


def start_ray() -> None:
    """Connect to ``RAY_ADDRESS``, or start Ray on this machine; nothing if that has been done.

    Raises:
        PipelineError: there is no cluster, or Ray does not start.
    """
    if ray.is_initialized():
        return
    _hide_command_line()
    address = os.environ.get("RAY_ADDRESS", "")
    added = {name: value for name, value in ALLOCATION.items() if name not in os.environ}
    os.environ.update(added)
    handler = signal.getsignal(signal.SIGTERM)
    try:
        _check_address(address)
        with quiet_driver():
            ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as e:  # of whatever class: Ray has none of its own for it
        what = f"no Ray cluster at RAY_ADDRESS={address}" if address else "Ray does not start here"
        raise PipelineError(f"{what}: {type(e).__name__}: {first_line(e)}") from None
    finally:  # Ray's processes have it now; those that this one starts are not to
        for name in added:
            del os.environ[name]
    if callable(handler):  # Ray would print a stack, and exit
        signal.signal(signal.SIGTERM, handler)


def _check_address(address: str) -> None:
    """Raise OSError where nothing listens: Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and "/" not in address:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()


def plan_resources(spec: JobSpec) -> Resources:
    """Fill in what the specification leaves open, from the connected cluster.

    Raises:
        PipelineError: more is asked for than the cluster has, and it is not said to grow; or what
            its machines cannot do.
    """
    alive = [node for node in ray.nodes() if node["Alive"]]
    nodes = [node["Resources"] for node in alive]
    gpus = spec.gpus if spec.gpus is not None else float(total(nodes, "GPU") > 0)
    actor = {
        "CPU": ACTOR_CPUS if spec.cpus is None else spec.cpus,
        "GPU": gpus,
        "memory": (spec.memory or 0) * GIB,
        **spec.resources,
    }
    actor = {name: amount for name, amount in actor.items() if amount}
    step_cpus = STEP_CPUS if spec.step_cpus is None else spec.step_cpus
    if step_cpus == actor.get("CPU"):
        step_cpus *= 0.99  # what asks for the same as the actors would be fused into them
    places = room(nodes, actor, step_cpus)
    if spec.actors is None:
        usual = places if gpus else sum(usual_on(node) for node in nodes)
        least = most = max(1, min(usual, places))
    else:
        least, most = spec.actors.min, spec.actors.max
    if not spec.autoscaling:
        if least > places:
            have = {name: total(nodes, name) for name in actor}
            raise PipelineError(
                f"{too_much(nodes, actor, step_cpus)}: the job asks for {least} actor(s), the "
                f"cluster has room for {places}: each takes {in_words(actor)}, reading takes "
                f"{step_cpus:g} CPUs, and the {len(nodes)} node(s) have {in_words(have)} in all "
                "(a cluster that grows when it is asked: autoscaling: true)"
            )
        most = min(most, places)
    if spec.precision == "fp16" and not gpus:
        raise PipelineError("precision: fp16 needs a GPU; on CPUs there are bf16 and fp32")
    pixels = spec.batch_pixels_on(gpu=bool(gpus))
    hosts = [node for node in nodes if room_on(node, actor)]
    threads = _threads(spec, hosts, most)
    step = {"num_cpus": step_cpus, **(_off_gpus(alive) if gpus else {})}
    resources = Resources(least, most, pixels, threads, actor, step)
    if spec.compile:
        _check_compiler(resources.actor_options, gpus > 0)
    return resources


def _check_compiler(actor_options: dict[str, Any], gpu: bool) -> None:
    """Ask a machine that an actor may come to: actors themselves would say it after the start."""

    @ray.remote(max_calls=1, max_retries=0)
    def ask() -> None:
        check_compiler(device_of(gpu))

    try:
        ray.get(ask.options(**actor_options).remote())
    except RayError as e:
        cause = getattr(e, "cause", None) or e
        ours = isinstance(cause, ConfigError)
        words = str(cause) if ours else f"compile: {type(cause).__name__}: {cause}"
        raise PipelineError(words) from None


def _off_gpus(nodes: list[dict]) -> dict[str, Any]:
    """Options that keep a task off nodes with GPUs, as long as others have room."""
    kinds = {
        node["Labels"].get(ACCELERATOR) for node in nodes if node["Resources"].get("GPU", 0) > 0
    } - {None}
    if not kinds:
        return {}
    return {
        "label_selector": {ACCELERATOR: f"!in({','.join(sorted(kinds))})"},
        "fallback_strategy": [{"label_selector": {}}],
    }


def _threads(spec: JobSpec, hosts: list[dict], actors: int) -> int | None:
    if spec.cpus is not None:
        return max(1, int(spec.cpus))
    if not hosts:
        return None
    largest = max(node.get("CPU", 0) for node in hosts)
    here = math.ceil(actors / len(hosts))  # actors on a node, as Ray spreads them
    return max(1, int(largest) // here)
