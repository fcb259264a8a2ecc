"""Finding a network among what trainers write beside it: optimisers, averages, wrappers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

# What wraps a network says nothing of it.
AVERAGE = {"ema", "shadow", "average", "averaged", "swa"}
NO_AVERAGE = {"online"}  # of ema-pytorch, beside the average itself
LIST = "shadow_params"  # parameters in order, without their names
# Of a diffusion process, which a trainer registers beside its network.
SCHEDULES = ("betas", "alphas_cumprod")
BUFFERS = re.compile(
    r"(diffusion\w*\.)?(betas|\w*alphas_cumprod\w*|posterior_\w+|\w*loss_weights?|lvlb_weights|"
    r"logvar|snr|scale_factor)"
)


@dataclass(frozen=True)
class Weights:
    """A network's tensors, as a file holds them.

    Attributes:
        family: of the architecture, whose mark was found.
        state: by the network's own keys.
        place: of them in the file; empty for its top.
        averaged: whether they are an exponential average of the weights in training.
        others: places of other weights of the same network in the file.
    """

    family: str
    state: dict[str, Tensor]
    place: str
    averaged: bool
    others: tuple[str, ...]

    @property
    def words(self) -> str:
        """Where they were found, for people."""
        place = self.place or "the top of the file"
        kind = f"{place}, an exponential average" if self.averaged else place
        return f"{kind} (also there: {', '.join(self.others)})" if self.others else kind


def find_weights(entries: Mapping[str, Tensor], marks: Mapping[str, str]) -> Weights | None:
    """The weights of a network among a file's tensors: an average before what it is of.

    Args:
        entries: tensors by place.
        marks: family -> the key that all its networks have.

    Returns:
        None where no family's mark is there.
    """
    for family, mark in marks.items():
        places = [
            key.removesuffix(mark) for key in entries if key == mark or key.endswith(f".{mark}")
        ]
        if not places:
            continue
        found = {place: _below(entries, place) for place in places}
        averages = [place for place in places if _is_average(place, entries)]
        plain = [place for place in places if place not in averages]
        if not averages:
            found |= dict(_unnamed_averages(entries, found))
            averages = [place for place in found if place not in places]
        chosen = (averages or plain)[0]
        others = tuple(place.rstrip(".") or "the top" for place in found if place != chosen)
        return Weights(family, found[chosen], chosen.rstrip("."), bool(averages), others)
    return None


def find_schedule(entries: Mapping[str, Tensor]) -> tuple[str, Tensor] | None:
    """Place and values (T,) of the noise schedule that a trainer registered; betas rather."""
    for name in SCHEDULES:
        for place, tensor in entries.items():
            if place.rpartition(".")[2] == name and tensor.ndim == 1 and len(tensor) > 1:
                return place, tensor
    return None


def _below(entries: Mapping[str, Tensor], place: str) -> dict[str, Tensor]:
    """The tensors whose place begins so, without those of the diffusion process."""
    below = {key[len(place) :]: t for key, t in entries.items() if key.startswith(place)}
    return {key: tensor for key, tensor in below.items() if not BUFFERS.fullmatch(key)}


def _is_average(place: str, entries: Mapping[str, Tensor]) -> bool:
    words = set(re.split(r"[^a-z]+", place.lower()))
    if words & NO_AVERAGE:
        return False
    if words & AVERAGE:
        return True
    # torch.optim.swa_utils.AveragedModel counts; ddim's files are the lists of the weights, the
    # optimiser, two numbers, and the average.
    parent = place.removesuffix("module.")
    return (parent != place and f"{parent}n_averaged" in entries) or re.match(
        r"4\.", place
    ) is not None


def _unnamed_averages(
    entries: Mapping[str, Tensor], found: Mapping[str, dict[str, Tensor]]
) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Averages that do not have their network's keys: lists of them, and names without dots."""
    for place, state in found.items():
        for folder in {k.rpartition(".")[0] for k in entries if k.split(".")[-2:-1] == [LIST]}:
            named = {key: entries.get(f"{folder}.{i}") for i, key in enumerate(state)}
            fitting = {
                k: t for k, t in named.items() if t is not None and t.shape == state[k].shape
            }
            if len(fitting) == len(state):
                yield f"{folder}.", fitting
        # CompVis' LitEma: ``model_ema.diffusion_modeltime_embed0weight``.
        segments = place.split(".")
        folders = {key.rpartition(".")[0] for key in entries}
        for folder in (f for f in folders if _is_average(f"{f}.", {})):
            for start in range(len(segments)):
                joined = "".join(segments[start:])
                keys = {key: f"{folder}.{joined}{key.replace('.', '')}" for key in state}
                if all(key in entries for key in keys.values()):
                    yield f"{folder}.", {key: entries[where] for key, where in keys.items()}
                    break
