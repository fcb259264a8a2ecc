"""A network for features of one's own, as a job may name it."""

from __future__ import annotations

import torch
from torch import nn


def features() -> nn.Module:
    """Six features of an image, random but always the same."""
    net = nn.Sequential(
        nn.Conv2d(3, 6, 5, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    g = torch.Generator().manual_seed(0)
    for tensor in net.parameters():
        tensor.data = torch.randn(tensor.shape, generator=g) * 0.3
    return net


def nothing() -> nn.Module:
    """No features: it gives images back."""
    return nn.Identity()


def of_each_size() -> nn.Module:
    """As many features as there are pixels."""
    return nn.Flatten()
