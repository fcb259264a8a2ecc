"""The original DDPM's network (Ho et al. 2020) as PyTorch has it: pesser's, ddim's and SDEdit's.

Nothing beside the tensors is needed: all such networks have 32 groups, an eps of 1e-6, one head,
asymmetric downsampling, the sines first, and the linear schedule of 1000 steps.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from diffpir.errors import CheckpointError

MARK = "temb.dense.0.weight"
NAMES = {"temb_proj": "time_emb_proj", "nin_shortcut": "conv_shortcut"}
ATTENTION = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}
ENDS = {
    "temb.dense.0": "time_embedding.linear_1",
    "temb.dense.1": "time_embedding.linear_2",
    "norm_out": "conv_norm_out",
    "mid.block_1": "mid_block.resnets.0",
    "mid.block_2": "mid_block.resnets.1",
    "mid.attn_1": "mid_block.attentions.0",
}
LEVEL = re.compile(r"(down|up)\.(\d+)\.(block|attn|downsample|upsample)\.(.*)")
KINDS = {"block": "resnets", "attn": "attentions", "downsample": "downsamplers.0"}


def as_diffusers(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The same tensors under diffusers' names, and the configuration that goes with them.

    Raises:
        CheckpointError: they are not those of such a network.
    """
    levels = 1 + max((int(m[2]) for k in state if (m := LEVEL.match(k))), default=-1)
    per_level = len({key.split(".")[3] for key in state if key.startswith("down.0.block.")})
    if not 1 <= levels <= 16 or not per_level:
        raise CheckpointError("it has no blocks down.0.block.0, ... of an original DDPM network")
    try:
        widths = [len(state[f"down.{i}.block.0.conv1.weight"]) for i in range(levels)]
        channels = state["conv_in.weight"].shape[1], len(state["conv_out.weight"])
    except (KeyError, IndexError, TypeError) as e:
        raise CheckpointError(f"not an original DDPM network: missing {e}") from None
    attends = [f"down.{i}.attn.0.q.weight" in state for i in range(levels)]
    config = {
        "in_channels": channels[0],
        "out_channels": channels[1],
        "block_out_channels": widths,
        "layers_per_block": per_level,
        "down_block_types": ["AttnDownBlock2D" if a else "DownBlock2D" for a in attends],
        "up_block_types": ["AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)],
        "attention_head_dim": None,
        "norm_eps": 1e-6,
        "freq_shift": 1,
        "flip_sin_to_cos": False,
        "downsample_padding": 0,
    }
    return {_renamed(key, levels): tensor for key, tensor in state.items()}, config


def _renamed(key: str, levels: int) -> str:
    found = LEVEL.match(key)
    if found:
        way, level, kind, rest = found.groups()
        place = int(level) if way == "down" else levels - 1 - int(level)
        if kind in ("block", "attn"):
            rest = _inner(rest, kind)
        stem = KINDS.get(kind, "upsamplers.0")
        return f"{way}_blocks.{place}.{stem}.{rest}"
    for theirs, other in ENDS.items():
        if key.startswith(f"{theirs}."):
            rest = key.removeprefix(f"{theirs}.")
            if theirs.startswith("mid."):
                kind = "attn" if "attn" in theirs else "block"
                rest = _inner(f"0.{rest}", kind).removeprefix("0.")
            return f"{other}.{rest}"
    return key


def _inner(rest: str, kind: str) -> str:
    """``0.temb_proj.weight`` -> ``0.time_emb_proj.weight``."""
    number, _, name = rest.partition(".")
    stem, _, end = name.rpartition(".")
    names = ATTENTION if kind == "attn" else NAMES
    return f"{number}.{names.get(stem, stem)}.{end}"
