"""diffusers' ``UNet2DModel`` as our network: its architecture, and its tensors by our keys.

It is the same network under other names. What its tensors do not tell, its ``config.json`` does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from diffpir.errors import CheckpointError, ConfigError
from diffpir.networks.unet import UNetConfig

MARK = "time_embedding.linear_1.weight"
MOST, MOST_LEVELS = 4096, 16
HINT = "for other networks, a factory of your own can be the model"
# What our network has no part for: name -> the values that go.
REQUIRED: dict[str, tuple[Any, ...]] = {
    "time_embedding_type": ("positional",),
    "act_fn": ("silu", "swish"),
    "center_input_sample": (False,),
    "mid_block_type": ("UNetMidBlock2D",),
    "mid_block_scale_factor": (1, 1.0),
    "add_attention": (True,),
    "class_embed_type": (None,),
    "resnet_time_scale_shift": ("default", "scale_shift"),
    "downsample_padding": (0, 1),
}
# What diffusers takes where its configuration does not say.
DEFAULTS: dict[str, Any] = {
    "time_embedding_type": "positional",
    "act_fn": "silu",
    "center_input_sample": False,
    "mid_block_type": "UNetMidBlock2D",
    "mid_block_scale_factor": 1,
    "add_attention": True,
    "class_embed_type": None,
    "resnet_time_scale_shift": "default",
    "downsample_padding": 1,
    "in_channels": 3,
    "out_channels": 3,
    "block_out_channels": (224, 448, 672, 896),
    "layers_per_block": 2,
    "attention_head_dim": 8,
    "norm_num_groups": 32,
    "norm_eps": 1e-5,
    "freq_shift": 0,
    "flip_sin_to_cos": True,
    "num_class_embeds": None,
    "attn_norm_num_groups": None,
    "time_embedding_dim": None,
    "down_block_types": ("DownBlock2D", *("AttnDownBlock2D",) * 3),
    "up_block_types": (*("AttnUpBlock2D",) * 3, "UpBlock2D"),
}
DOWN = {"DownBlock2D": False, "ResnetDownsampleBlock2D": False, "AttnDownBlock2D": True}
UP = {"UpBlock2D": False, "ResnetUpsampleBlock2D": False, "AttnUpBlock2D": True}
RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
ATTENTION = {"group_norm": "norm", "to_out.0": "proj_out", "proj_attn": "proj_out"}
QKV = (("to_q", "to_k", "to_v"), ("query", "key", "value"))  # new and old names
ENDS = {
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "class_embedding": "label_emb",
}


def from_diffusers(
    state: Mapping[str, Tensor], config: Mapping[str, Any]
) -> tuple[dict[str, Tensor], UNetConfig]:
    """Tensors by the keys of :class:`UNet`, and its architecture.

    Args:
        state: of a ``UNet2DModel``, under new or old names.
        config: its ``config.json``.

    Raises:
        CheckpointError: it is not one, or has parts that our network has not; says which.
    """
    told = _checked(config)
    levels = len(told["block_out_channels"])
    last = levels - 1
    resampled = any(".downsamplers.0.conv1." in key for key in state)
    try:
        net = UNetConfig(
            in_channels=told["in_channels"],
            out_channels=told["out_channels"],
            model_channels=told["block_out_channels"][0],
            level_channels=tuple(told["block_out_channels"]),
            num_res_blocks=told["layers_per_block"],
            attention_levels=tuple(i for i in range(levels) if DOWN[told["down_block_types"][i]]),
            num_head_channels=told["attention_head_dim"] or UNetConfig.num_head_channels,
            num_heads=None if told["attention_head_dim"] else 1,
            use_new_attention_order=True,
            resblock_updown=resampled,
            use_scale_shift_norm=told["resnet_time_scale_shift"] == "scale_shift",
            num_classes=told["num_class_embeds"] or 0,
            norm_groups=told["norm_num_groups"],
            norm_eps=told["norm_eps"],
            freq_shift=told["freq_shift"],
            asymmetric_downsampling=told["downsample_padding"] == 0,
        )
    except (ConfigError, TypeError) as e:
        raise CheckpointError(f"its config.json cannot be that of a UNet2DModel: {e}") from None
    renamed: dict[str, Tensor] = {}
    taken: set[str] = set()
    for theirs, ours in _modules(net, last):
        for end in ("weight", "bias"):
            key = f"{theirs}.{end}"
            if key in state:
                renamed[f"{ours}.{end}"] = state[key]
                taken.add(key)
    for theirs, ours in _attentions(net, last):
        for names in QKV:
            if f"{theirs}.{names[0]}.weight" not in state:
                continue
            for end in ("weight", "bias"):
                keys = [f"{theirs}.{name}.{end}" for name in names]
                missing = [key for key in keys if key not in state]
                if missing:
                    raise CheckpointError(f"missing {', '.join(missing)}")
                joined = (
                    torch.cat([state[key].flatten(1) for key in keys])
                    if (end == "weight")
                    else torch.cat([state[key] for key in keys])
                )
                renamed[f"{ours}.qkv.{end}"] = joined[:, :, None] if end == "weight" else joined
                taken.update(keys)
        out = f"{ours}.proj_out.weight"
        if out in renamed:
            renamed[out] = renamed[out].flatten(1)[:, :, None]
    left = sorted(state.keys() - taken)
    if left:
        raise CheckpointError(
            f"its tensors do not fit its config.json: unexpected {', '.join(left[:3])}"
            + (f" (and {len(left) - 3} more)" if len(left) > 3 else "")
        )
    first = "time_embed.0.weight"
    if not told["flip_sin_to_cos"] and first in renamed:
        # Theirs has the sines first, ours the cosines.
        sines, cosines = renamed[first].chunk(2, dim=1)
        renamed[first] = torch.cat([cosines, sines], dim=1)
    return renamed, net


def _checked(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with its defaults, if our network has all that it asks for."""
    name = config.get("_class_name", "UNet2DModel")
    if name == "UNet2DConditionModel":
        raise CheckpointError(
            "its config.json is that of a UNet2DConditionModel, which wants a text or an image "
            f"beside the noisy one (Stable Diffusion is of that kind); {HINT}"
        )
    if name != "UNet2DModel":
        raise CheckpointError(
            f"its config.json is that of a {name}; what is read here is a UNet2DModel; {HINT}"
        )
    told = DEFAULTS | {key: value for key, value in config.items() if key in DEFAULTS}
    for key, good in REQUIRED.items():
        if told[key] not in good:
            raise CheckpointError(
                f"its config.json has {key}: {told[key]!r}; what is read here is "
                f"{' or '.join(map(repr, good))}; {HINT}"
            )
    for key in ("in_channels", "out_channels", "layers_per_block", "norm_num_groups"):
        if type(told[key]) is not int or not 1 <= told[key] <= MOST:
            raise CheckpointError(f"its config.json has {key}: {told[key]!r}")
    widths = told["block_out_channels"]
    down, up = told["down_block_types"], told["up_block_types"]
    if not all(isinstance(v, list | tuple) and v for v in (widths, down, up)) or not (
        len(widths) == len(down) == len(up) <= MOST_LEVELS
    ):
        raise CheckpointError(
            "its config.json has not as many block_out_channels as down_block_types and "
            "up_block_types"
        )
    for kind in (*down, *up):
        if kind not in DOWN and kind not in UP:
            raise CheckpointError(
                f"its config.json has a {kind}; what is read here is {', '.join([*DOWN, *UP])}; "
                f"{HINT}"
            )
    attends = [DOWN.get(kind) for kind in down]
    if attends != [UP.get(kind) for kind in reversed(up)]:
        raise CheckpointError(
            "its config.json has attention on other levels on the way up than on the way down"
        )
    scaled = told["resnet_time_scale_shift"] == "scale_shift"
    norms = told["attn_norm_num_groups"]
    if norms not in (None, told["norm_num_groups"]) or (scaled and norms is None):
        raise CheckpointError(
            "its middle attention has no norm, or one of another number of groups "
            f"(attn_norm_num_groups: {norms}); {HINT}"
        )
    if told["time_embedding_dim"] not in (None, 4 * widths[0]):
        raise CheckpointError(
            f"its time_embedding_dim is {told['time_embedding_dim']}; what is read here is four "
            "times the first of block_out_channels"
        )
    if told["in_channels"] == 4:
        raise CheckpointError(
            "it takes 4 channels: latents, which a decoder makes images of; priors work on pixels"
        )
    return told


def _blocks(net: UNetConfig, last: int) -> Iterator[tuple[str, str, str]]:
    """Kind, and theirs and our place, of all blocks between the first and the last convolution."""
    i = 1
    for level in range(last + 1):
        for j in range(net.num_res_blocks):
            yield "resnet", f"down_blocks.{level}.resnets.{j}", f"input_blocks.{i}.0"
            if level in net.attention_levels:
                yield "attention", f"down_blocks.{level}.attentions.{j}", f"input_blocks.{i}.1"
            i += 1
        if level != last:
            yield "down", f"down_blocks.{level}.downsamplers.0", f"input_blocks.{i}.0"
            i += 1
    yield "resnet", "mid_block.resnets.0", "middle_block.0"
    yield "attention", "mid_block.attentions.0", "middle_block.1"
    yield "resnet", "mid_block.resnets.1", "middle_block.2"
    i = 0
    for k in range(last + 1):
        level = last - k
        for j in range(net.num_res_blocks + 1):
            yield "resnet", f"up_blocks.{k}.resnets.{j}", f"output_blocks.{i}.0"
            attends = level in net.attention_levels
            if attends:
                yield "attention", f"up_blocks.{k}.attentions.{j}", f"output_blocks.{i}.1"
            if level and j == net.num_res_blocks:
                place = f"output_blocks.{i}.{2 if attends else 1}"
                yield "up", f"up_blocks.{k}.upsamplers.0", place
            i += 1


def _modules(net: UNetConfig, last: int) -> Iterator[tuple[str, str]]:
    """Theirs and our name of everything that has a weight, but for queries, keys and values."""
    yield from ENDS.items()
    for kind, theirs, ours in _blocks(net, last):
        if kind == "attention":
            names = ATTENTION
        elif kind == "resnet" or net.resblock_updown:
            names = RESNET
        else:
            names = {"conv": "op" if kind == "down" else "conv"}
        for name, own in names.items():
            yield f"{theirs}.{name}", f"{ours}.{own}"


def _attentions(net: UNetConfig, last: int) -> Iterator[tuple[str, str]]:
    return ((t, o) for kind, t, o in _blocks(net, last) if kind == "attention")
