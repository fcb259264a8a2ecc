"""The diffusion that a checkpoint's network was trained in, as far as the file tells."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from diffpir.checkpoints.facts import Fact, How
from diffpir.checkpoints.tensors import FAULTS, SHOWN
from diffpir.checkpoints.unwrap import find_schedule
from diffpir.errors import CheckpointError, ConfigError
from diffpir.networks.diffusion import Diffusion
from diffpir.schedule import Schedule

MOST_METADATA = 2**22  # characters; a table of 100,000 steps has half of that
NAMES = ("schedule", "prediction", "rescale_timesteps")


def diffusion_of(
    entries: Mapping[str, Tensor],
    metadata: str | None,
    beside: Mapping[str, tuple[Any, str]],
    given: Mapping[str, Any],
) -> tuple[Diffusion, list[Fact]]:
    """The diffusion, and how each part of it is known.

    Args:
        entries: the file's tensors, of which one may be its schedule.
        metadata: of a file of our own.
        beside: parts that another file, or the family, tells, and in words which.
        given: parts that the user gave, which win.

    Raises:
        CheckpointError: the file's own words are no such thing.
    """
    found = {name: value for name, (value, _) in beside.items()}
    why = {name: words for name, (_, words) in beside.items()}
    if metadata is not None:
        if len(metadata) > MOST_METADATA:
            raise CheckpointError(f"what it says of its diffusion has {len(metadata)} characters")
        try:
            told = Diffusion.from_plain(json.loads(metadata))
        except (ConfigError, *FAULTS, TypeError) as e:
            raise CheckpointError(f"what it says of its diffusion: {str(e)[:SHOWN]}") from None
        found, why = {name: getattr(told, name) for name in NAMES}, {}
    elif (table := find_schedule(entries)) and "schedule" not in given.keys() | found.keys():
        place, numbers = table
        try:
            found["schedule"] = Schedule.of_table(numbers.double().numpy())
        except ConfigError as e:
            raise CheckpointError(
                f"its tensor {place} is not a noise schedule ({e}); say which it is: "
                "schedule: {kind: linear}"
            ) from None
        why["schedule"] = place
    parts = found | {name: given[name] for name in NAMES if name in given}
    try:
        diffusion = Diffusion(**parts)
    except ConfigError as e:
        raise CheckpointError(str(e)) from None
    facts = []
    for name in NAMES:
        how: How = "given" if name in given else "found" if name in found else "assumed"
        value = getattr(diffusion, name)
        words = value.words if isinstance(value, Schedule) else str(value)
        reason = why.get(name, "") if how == "found" else ""
        facts.append(Fact(name, words, how, reason or ("the usual" if how == "assumed" else "")))
    return diffusion, facts
