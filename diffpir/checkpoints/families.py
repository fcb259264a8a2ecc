"""The families of networks that are read, each as our own network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from diffpir.checkpoints import ddpm_keys, diffusers_keys
from diffpir.checkpoints.architecture import check_fit, infer_config, shapes_of
from diffpir.checkpoints.diffusers_schedule import diffusion_parts
from diffpir.checkpoints.facts import Fact, How
from diffpir.checkpoints.folder import Files, read_config
from diffpir.checkpoints.unwrap import Weights
from diffpir.errors import CheckpointError
from diffpir.networks.unet import UNet, UNetConfig
from diffpir.schedule import Schedule

# Family -> the key that all its networks have.
MARKS = {
    "guided-diffusion": "time_embed.0.weight",
    "diffusers": diffusers_keys.MARK,
    "original DDPM": ddpm_keys.MARK,
}
# What a user may say of a guided-diffusion network, since its tensors do not.
UNTOLD = frozenset({"num_head_channels", "num_heads", "use_new_attention_order"})


@dataclass(frozen=True)
class Network:
    """A network as ours.

    Attributes:
        state: its tensors, by the keys of :class:`UNet`.
        config: its architecture.
        facts: how that is known.
        diffusion: parts of the diffusion that another file or the family tells, each with words
            for which.
    """

    state: dict[str, Tensor]
    config: UNetConfig
    facts: tuple[Fact, ...]
    diffusion: dict[str, tuple[Any, str]] = field(default_factory=dict)


def read_network(
    weights: Weights, files: Files, told: Mapping[str, Any], given: Mapping[str, Any]
) -> Network:
    """The network of some weights, with all of its tensors.

    Args:
        weights: as a file holds them.
        files: that one, and those beside it.
        told: what a file of our own says of its network.
        given: what the user says.

    Raises:
        CheckpointError, ValueError: it is none, or not whole.
    """
    if weights.family == "guided-diffusion":
        network = _guided(weights.state, told, given)
    else:
        if ours := UNTOLD & given.keys():
            raise CheckpointError(
                f"{', '.join(sorted(ours))}: this network says itself what its attention is; "
                "leave that out"
            )
        read = _diffusers if weights.family == "diffusers" else _original
        network = read(weights.state, files)
    with torch.device("meta"):
        expected = shapes_of(UNet(network.config).state_dict())
    check_fit(shapes_of(network.state), expected)
    return network


def _guided(state: dict[str, Tensor], told: Mapping[str, Any], given: Mapping[str, Any]) -> Network:
    said = {name: given[name] for name in UNTOLD & given.keys()}
    config = infer_config(shapes_of(state), **{**told, **said})
    facts = [
        Fact("architecture", "guided-diffusion U-Net", "inferred", "names and shapes of tensors")
    ]
    for name in ("num_head_channels", "num_heads", "use_new_attention_order"):
        # A number of heads stands for their width.
        other = "num_head_channels" if config.num_heads is not None else "num_heads"
        if name != other:
            how: How = "given" if name in given else "found" if name in told else "assumed"
            why = "tensors do not tell" if how == "assumed" else ""
            facts.append(Fact(name, str(getattr(config, name)), how, why))
    return Network(state, config, tuple(facts))


def _diffusers(state: dict[str, Tensor], files: Files) -> Network:
    if files.config is None:
        raise CheckpointError(
            "a diffusers network, whose heads, frequencies and schedule its tensors do not tell: "
            "put its config.json (and scheduler_config.json) beside the file, give the folder, or "
            "say where it lies: {path: ..., config: config.json}"
        )
    words = read_config(files.config)
    ours, config = diffusers_keys.from_diffusers(state, words)
    where = files.config.name
    facts = (
        Fact("architecture", "diffusers UNet2DModel", "found", where),
        Fact("heads", _heads(words), "found", where),
    )
    parts = diffusion_parts(read_config(files.scheduler)) if files.scheduler else {}
    name = files.scheduler.name if files.scheduler else ""
    return Network(ours, config, facts, {part: (value, name) for part, value in parts.items()})


def _original(state: dict[str, Tensor], files: Files) -> Network:
    renamed, words = ddpm_keys.as_diffusers(state)
    ours, config = diffusers_keys.from_diffusers(renamed, words)
    facts = (
        Fact("architecture", "original DDPM U-Net", "inferred", "names and shapes of tensors"),
        Fact("heads", _heads(words), "inferred", "all of this family"),
    )
    usual = "that of this family"
    diffusion = {"schedule": (Schedule.linear(), usual), "prediction": ("epsilon", usual)}
    return Network(ours, config, facts, diffusion)


def _heads(words: Mapping[str, Any]) -> str:
    width = words.get("attention_head_dim", diffusers_keys.DEFAULTS["attention_head_dim"])
    return f"{width} wide" if width else "one"
