"""The features of the Fréchet and kernel inception distances."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from diffpir.checkpoints.tensors import read_tensors
from diffpir.errors import CheckpointError
from diffpir.perceptual.libraries import library

SOURCE = (
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
    "weights-inception-2015-12-05-6726825d.pth"
)


class Inception(nn.Module):
    """Inception-v3 as Heusel et al. (2017) used it, of the library ``torch_fidelity``.

    Args:
        weights: its checkpoint, as at ``SOURCE``; read, never executed.

    Raises:
        ConfigError: the library is missing.
        CheckpointError: the file is not that network's.
    """

    def __init__(self, weights: Path):
        super().__init__()
        module = library("torch_fidelity.feature_extractor_inceptionv3")
        try:
            # The library unpickles whatever its file holds: it is given one that we wrote.
            with TemporaryDirectory() as folder:
                plain = Path(folder) / "tensors.pth"
                torch.save(read_tensors(weights), plain)
                self.net = module.FeatureExtractorInceptionV3(
                    "inception", ["2048"], feature_extractor_weights_path=str(plain)
                )
        except (CheckpointError, RuntimeError) as e:
            raise CheckpointError(f"{weights}: not the weights of {SOURCE} ({e})") from None

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) on [0, 1] -> (B, 2048); the network reads 8 bits, at 299 x 299 pixels."""
        features: Tensor = self.net((x.clamp(0, 1) * 255).round().to(torch.uint8))[0]
        return features
