"""diffusers' ``scheduler_config.json``: the diffusion that a network was trained in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from diffpir.errors import CheckpointError, ConfigError
from diffpir.networks.diffusion import Prediction
from diffpir.schedule import BETA_END, BETA_START, STEPS, Schedule, ScheduleKind

KINDS: dict[str, ScheduleKind] = {
    "linear": "linear",
    "scaled_linear": "scaled_linear",
    "squaredcos_cap_v2": "cosine",
    "sigmoid": "sigmoid",
}
PREDICTIONS: dict[str, Prediction] = {"epsilon": "epsilon", "v_prediction": "v", "sample": "x0"}
OTHERS = re.compile("EDM|ScoreSde|CMStochastic|FlowMatch|KarrasVe|Consistency|VQ|Amused")


def diffusion_parts(config: Mapping[str, Any]) -> dict[str, Any]:
    """``schedule`` and ``prediction`` of a scheduler's configuration.

    Raises:
        CheckpointError: it is of a process with other noise than ours, or of unknown settings.
    """
    name = str(config.get("_class_name", "DDPMScheduler"))
    if OTHERS.search(name):
        raise CheckpointError(
            f"its scheduler_config.json is that of a {name}, whose noise is not that of a DDPM; "
            "for such networks, a factory of your own can be the model"
        )
    predicted = config.get("prediction_type", "epsilon")
    if predicted not in PREDICTIONS:
        known = ", ".join(PREDICTIONS)
        raise CheckpointError(f"its scheduler predicts {predicted!r}; what is read here is {known}")
    zero_snr = bool(config.get("rescale_betas_zero_snr"))
    try:
        if config.get("trained_betas") is not None:
            schedule = Schedule.of_table(config["trained_betas"])
        else:
            kind = config.get("beta_schedule", "linear")
            if kind not in KINDS:
                raise CheckpointError(
                    f"its scheduler has the beta_schedule {kind!r}; what is read here is "
                    f"{', '.join(KINDS)}, and trained_betas"
                )
            betas = {
                "beta_start": config.get("beta_start", BETA_START),
                "beta_end": config.get("beta_end", BETA_END),
            }
            schedule = Schedule.of(
                KINDS[kind],
                steps=config.get("num_train_timesteps", STEPS),
                zero_snr=zero_snr,
                **({} if kind == "squaredcos_cap_v2" else betas),
            )
    except (ConfigError, TypeError) as e:
        raise CheckpointError(f"its scheduler_config.json: {e}") from None
    return {"schedule": schedule, "prediction": PREDICTIONS[predicted]}
