"""A prior: a network, with the diffusion that it was trained in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Unpack

import torch

from diffpir.checkpoints.checkpoint import Options, network_of, read_checkpoint, read_spectrum
from diffpir.networks.custom import CustomNet, CustomPrior
from diffpir.networks.denoiser import EpsDenoiser
from diffpir.networks.diffusion import Diffusion
from diffpir.networks.precision import Net
from diffpir.networks.unet import UNet
from diffpir.spectrum import PriorSpectrum


@dataclass(frozen=True)
class Prior(Generic[Net]):
    """What a checkpoint holds or a user's code makes, ready for use.

    Attributes:
        net: in evaluation mode, on the CPU.
        diffusion: that it was trained in.
        spectrum: of its error, where somebody measured it.
    """

    net: Net
    diffusion: Diffusion
    spectrum: PriorSpectrum | None = None

    def denoiser(
        self, label: int | None = None, null_label: int | None = None, cfg: float = 1.0
    ) -> EpsDenoiser:
        """The sampler's ``(x_t, t) -> x0``.

        Args:
            label, null_label, cfg: of a class-conditional network, as of :class:`EpsDenoiser`.

        Raises:
            ConfigError: the network is none for images, or the labels do not go with it.
        """
        return EpsDenoiser(
            self.net,
            self.diffusion.schedule,
            label,
            self.diffusion.prediction,
            self.diffusion.rescale_timesteps,
            null_label,
            cfg,
        )


def custom_prior(custom: CustomPrior) -> Prior[CustomNet]:
    """The prior that a user's own code made."""
    diffusion = Diffusion(schedule=custom.schedule, prediction=custom.prediction or "x0")
    return Prior(CustomNet(custom), diffusion)


def load_prior(
    path: str | Path, dtype: torch.dtype = torch.float32, **options: Unpack[Options]
) -> Prior[UNet]:
    """The prior of a checkpoint.

    Args:
        path: a local ``.pt`` (``.pth``, ``.ckpt``) or ``.safetensors`` file.
        dtype: of the weights, but for the last layers' (see
            :func:`diffpir.checkpoints.checkpoint.cast`). Those that the file has in this type are
            mapped, not read: all processes of a machine then have them in memory once.
        options: as for :func:`diffpir.checkpoints.checkpoint.read_checkpoint`.

    Raises:
        CheckpointError: not such a checkpoint; the message names the file and the reason.
    """
    checkpoint = read_checkpoint(path, **options)
    return Prior(network_of(checkpoint, dtype), checkpoint.diffusion, read_spectrum(path))
