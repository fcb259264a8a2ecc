"""LPIPS (Zhang et al. 2018): the distance of two images as a network sees them."""

from __future__ import annotations

import math
import warnings
from itertools import pairwise, product
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from diffpir.checkpoints.tensors import read_tensors
from diffpir.errors import CheckpointError
from diffpir.perceptual.libraries import library

LEAST_SIDE = 32  # pixels: of less, the networks leave nothing
WINDOW = 1024  # pixels a side that a network sees at once: its memory grows with them
Network = Literal["vgg", "alex"]
SOURCES: dict[Network, str] = {
    "vgg": "https://download.pytorch.org/models/vgg16-397923af.pth",
    "alex": "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
}


class Lpips:
    """Version 0.1 of the authors' library ``lpips``, which brings the weights of its own layers.

    Args:
        network: whose features are compared.
        weights: torchvision's checkpoint of it, as in ``SOURCES``; read, never executed. Of its
            tensors only ``features.*`` are needed.
        device: that computes.

    Raises:
        ConfigError: the library is missing.
        CheckpointError: the file is not that network's.
    """

    def __init__(self, network: Network, weights: Path, device: str | torch.device = "cpu"):
        with warnings.catch_warnings():
            # The library speaks to torchvision in words that are no longer the newest.
            warnings.simplefilter("ignore")
            self.net = library("lpips").LPIPS(net=network, pnet_rand=True, verbose=False)
        own = self.net.net
        try:
            state = read_tensors(weights)
            # "slice2.5.weight" there is "features.5.weight" here.
            own.load_state_dict(
                {key: state["features." + key.partition(".")[2]] for key in own.state_dict()}
            )
        except (CheckpointError, KeyError, RuntimeError) as e:
            raise CheckpointError(
                f"{weights}: not the weights of {SOURCES[network]} ({e})"
            ) from None
        self.net.to(device).requires_grad_(False).eval()
        self.device = device

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """(B,) distances of (B, 3, H, W) on [0, 1]; 0 is equal; NaN of images under 32 pixels.

        Of more than 1024 pixels a side it is the mean of a grid of equal windows, by pixels.
        """
        if min(a.shape[-2:]) < LEAST_SIDE:
            return a.new_full((len(a),), float("nan"))
        total = torch.zeros(len(a), device=self.device)
        for rows, columns in product(*(_parts(side) for side in a.shape[-2:])):
            pair = (x[..., rows, columns].to(self.device).float() * 2 - 1 for x in (a, b))
            pixels = (rows.stop - rows.start) * (columns.stop - columns.start)
            total += self.net(*pair).reshape(len(a)) * pixels
        return (total / math.prod(a.shape[-2:])).to(a)


def _parts(side: int) -> list[slice]:
    """A side in as few equal parts as are no longer than a window."""
    count = -(-side // WINDOW)
    edges = [round(i * side / count) for i in range(count + 1)]
    return [slice(*pair) for pair in pairwise(edges)]
