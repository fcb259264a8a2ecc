"""A trained network as the beginning of one for pictures of other channels."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from diffpir.networks.unet import UNet

FIRST, LAST = "input_blocks.0.0.weight", "out.2"  # the layers that channels show in


def with_channels(net: UNet, channels: int) -> UNet:
    """The network for pictures of so many channels; itself where it takes as many.

    It does with each channel what ``net`` does where all of its channels are equal. A variance
    that ``net`` predicts is left out.
    """
    taken = net.config.in_channels
    if taken == channels:
        return net

    def for_each(mean: Tensor, dim: int) -> Tensor:
        return mean.repeat_interleave(channels, dim=dim)

    state = dict(net.state_dict())
    state[FIRST] = for_each(state[FIRST].sum(dim=1, keepdim=True) / channels, 1)
    for part in ("weight", "bias"):
        state[f"{LAST}.{part}"] = for_each(
            state[f"{LAST}.{part}"][:taken].mean(dim=0, keepdim=True), 0
        )
    with torch.device("meta"):
        adapted = UNet(replace(net.config, in_channels=channels, out_channels=channels))
    adapted.load_state_dict(state, assign=True)
    return adapted
