"""What fits on a cluster, by arithmetic alone. Nodes and actors are amounts by Ray's names."""

from __future__ import annotations

from collections.abc import Sequence

GIB = 2**30
# Actors of one thread each give more than the same threads in one, as long as memory suffices.
GIB_PER_ACTOR = 4
FIELDS = {"CPU": "cpus", "GPU": "gpus", "memory": "memory"}  # of a job


def room(nodes: Sequence[dict], actor: dict[str, float], step_cpus: float) -> int:
    """How many such actors these nodes can hold, with room left for reading.

    Args:
        nodes: what each has.
        actor: what one asks for.
        step_cpus: what reading asks for.
    """
    if max(node.get("CPU", 0) for node in nodes) < step_cpus:
        return 0
    places = sum(room_on(node, actor) for node in nodes)
    cpus = actor.get("CPU")
    if not cpus:
        return places
    in_all = total(nodes, "CPU")
    beside = int((in_all - max(1.0, step_cpus)) / cpus)
    return min(places, max(beside, int(in_all >= cpus + step_cpus)))


def room_on(node: dict, actor: dict[str, float]) -> int:
    """How many such actors a node can hold, if nothing else is to be there."""
    # Ray counts in ten-thousandths, and cuts a GPU for whole numbers of actors only.
    places = min(
        (int(round(node.get(name, 0) * 1e4) // round(need * 1e4)) for name, need in actor.items()),
        default=0,
    )
    gpu = actor.get("GPU", 0)
    return min(places, int(node.get("GPU", 0)) * int(1 / gpu)) if 0 < gpu < 1 else places


def usual_on(node: dict) -> int:
    """Actors without a GPU that a node has by default."""
    return int(min(node.get("CPU", 0), node.get("memory", 0) // (GIB_PER_ACTOR * GIB)))


def too_much(nodes: Sequence[dict], actor: dict[str, float], step_cpus: float) -> str:
    """The field of a job that no node has enough for; ``actors`` if there are too many of them."""
    for name, need in actor.items():
        if not any(room_on(node, {name: need}) for node in nodes):
            return FIELDS.get(name, f"resources.{name}")
    return "actors" if any(node.get("CPU", 0) >= step_cpus for node in nodes) else "step_cpus"


def total(nodes: Sequence[dict], name: str) -> float:
    return sum(node.get(name, 0) for node in nodes)


def in_words(amounts: dict[str, float]) -> str:
    shown = {
        name: (amount / GIB, f"GiB of {name}") if name == "memory" else (amount, _plural(name))
        for name, amount in amounts.items()
    }
    return ", ".join(f"{amount:.4g} {name}" for amount, name in shown.values())


def _plural(name: str) -> str:
    return f"{name}s" if name in ("CPU", "GPU") else name
