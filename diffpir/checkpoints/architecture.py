"""Reading a guided-diffusion U-Net's architecture off its state dict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from diffpir.errors import CheckpointError
from diffpir.networks.unet import UNetConfig

Shapes = Mapping[str, tuple[int, ...]]


def infer_config(shapes: Shapes, **overrides: Any) -> UNetConfig:
    """The architecture that a state dict's keys and shapes imply.

    Args:
        shapes: tensor shape by key.
        overrides: what keys and shapes cannot tell: ``num_head_channels`` or ``num_heads``,
            and ``use_new_attention_order``.

    Raises:
        CheckpointError: the keys are not those of a guided-diffusion U-Net.
    """
    for name in ("num_head_channels", "num_heads"):
        if overrides.get(name) is not None and overrides[name] < 1:
            raise CheckpointError(f"{name} must be 1 or more, got {overrides[name]}")
    depth = _count(shapes, "input_blocks")
    # Every level but the finest ends its way up with a resampling layer: after the level's
    # own residual block, either a plain convolution or a second residual block.
    resblock_up = sum(
        f"output_blocks.{i}.{j}.in_layers.0.weight" in shapes
        for i in range(_count(shapes, "output_blocks"))
        for j in (1, 2)
    )
    conv_up = sum(
        f"output_blocks.{i}.{j}.conv.weight" in shapes
        for i in range(_count(shapes, "output_blocks"))
        for j in (1, 2)
    )
    levels = max(resblock_up, conv_up) + 1
    if depth % levels or depth == levels or _count(shapes, "output_blocks") != depth:
        raise CheckpointError(
            f"{depth} input and {_count(shapes, 'output_blocks')} output blocks do not make "
            f"a guided-diffusion U-Net of {levels} levels"
        )
    per_level = depth // levels  # residual blocks, and the downsampling (or the stem)
    # The first block of level l stands behind l whole levels and the stem.
    firsts = [1 + per_level * level for level in range(levels)]
    widths = tuple(_size(shapes, f"input_blocks.{i}.0.out_layers.3.weight", 0) for i in firsts)
    emb_rows = _size(shapes, "input_blocks.1.0.emb_layers.1.weight", 0)
    return UNetConfig(
        in_channels=_size(shapes, "input_blocks.0.0.weight", 1),
        out_channels=_size(shapes, "out.2.weight", 0),
        model_channels=_size(shapes, "time_embed.0.weight", 1),
        level_channels=widths,
        num_res_blocks=per_level - 1,
        attention_levels=tuple(
            level for level, i in enumerate(firsts) if f"input_blocks.{i}.1.qkv.weight" in shapes
        ),
        resblock_updown=resblock_up > 0,
        use_scale_shift_norm=emb_rows == 2 * widths[0],
        num_classes=_size(shapes, "label_emb.weight", 0) if "label_emb.weight" in shapes else 0,
        **{name: value for name, value in overrides.items() if value is not None},
    )


def check_fit(state: Shapes, expected: Shapes) -> None:
    """Say which tensors are missing, too many or of another shape; silent when all agree."""
    faults = [f"missing {key}" for key in sorted(expected.keys() - state.keys())]
    faults += [f"unexpected {key}" for key in sorted(state.keys() - expected.keys())]
    faults += [
        f"{key} has shape {state[key]}, expected {expected[key]}"
        for key in sorted(expected.keys() & state.keys())
        if state[key] != expected[key]
    ]
    if faults:
        more = f" (and {len(faults) - 3} more)" if len(faults) > 3 else ""
        raise CheckpointError(
            "the tensors do not fit a guided-diffusion U-Net: " + "; ".join(faults[:3]) + more
        )


def check_numbers(state: Mapping[str, torch.Tensor]) -> None:
    """Refuse tensors that are not of floating-point numbers: weights that were quantised, say."""
    for key, tensor in state.items():
        if not tensor.is_floating_point() or tensor.element_size() < 2:
            raise CheckpointError(
                f"{key} is of the type {str(tensor.dtype).removeprefix('torch.')}: weights are "
                "read as float16, bfloat16, float32 or float64; save them so"
            )


def shapes_of(state: Mapping[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(tensor.shape) for key, tensor in state.items()}


def _count(shapes: Shapes, stem: str) -> int:
    """One more than the highest index of the entries ``stem.0``, ``stem.1``, ..."""
    indices = set()
    for key in shapes:
        if str(key).startswith(f"{stem}."):
            index = key.split(".")[1]
            if not index.isdecimal():
                raise CheckpointError(f"not a guided-diffusion U-Net: it has a tensor {key}")
            indices.add(int(index))
    count = max(indices, default=-1) + 1
    if count > len(shapes):
        raise CheckpointError(
            f"not a guided-diffusion U-Net: it has {stem}.{count - 1}, but not all before"
        )
    return count


def _size(shapes: Shapes, key: str, axis: int) -> int:
    try:
        return shapes[key][axis]
    except (KeyError, IndexError):
        found = f"of shape {shapes[key]}" if key in shapes else "missing"
        raise CheckpointError(f"not a guided-diffusion U-Net: {key} is {found}") from None
