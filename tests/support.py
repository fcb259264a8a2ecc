"""What several test modules share."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import torch

from diffpir.networks.unet import UNet, UNetConfig
from pipeline.priors.files import local_file
from pipeline.versions import Versions, digest_of

GOLDEN = Path(__file__).parent / "golden"
ROOT = Path(__file__).parents[1]
SHARED = Path(__file__).parents[2] / "shared"  # real images and kernels, where they are at hand

TINY = UNetConfig(
    model_channels=32,
    level_channels=(32, 32),
    num_res_blocks=1,
    attention_levels=(1,),
    num_head_channels=32,
)


def read_terminal(ours: int) -> str:
    """What was written to a pseudo-terminal until its other end was closed; closes this end."""
    sent = b""
    while True:
        try:
            sent += os.read(ours, 1 << 16)
        except OSError:
            os.close(ours)
            return sent.decode()


def versions_of(model: str) -> Versions:
    """What a run knows of a model that is there now."""
    return Versions(digest_of(local_file(model)))


def golden(name: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / f"{name}.npz") as archive:
        return dict(archive)


def recipe_state(shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, torch.Tensor]:
    """The weights that the golden networks were recorded with."""
    g = torch.Generator().manual_seed(seed)
    state = {}
    for key in sorted(shapes):
        r = torch.randn(shapes[key], generator=g)
        if r.ndim > 1:
            state[key] = r / math.sqrt(r[0].numel())
        else:
            state[key] = 1 + 0.1 * r if key.endswith("weight") else 0.1 * r
    return state


def make_net(config: UNetConfig = TINY, seed: int = 0) -> UNet:
    """A network with weights of that recipe: small, but every part of it matters."""
    net = UNet(config)
    shapes = {key: tuple(t.shape) for key, t in net.state_dict().items()}
    net.load_state_dict(recipe_state(shapes, seed))
    return net.requires_grad_(False).eval()
