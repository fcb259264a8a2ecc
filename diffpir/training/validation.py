"""What a prior is worth as a denoiser: x0 in one evaluation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from diffpir.checkpoints.prior import Prior
from diffpir.networks.denoiser import EpsDenoiser
from diffpir.networks.diffusion import Diffusion
from diffpir.networks.unet import UNet
from diffpir.training.crops import CropStream

CROPS = 64  # of the photographs kept for validation
SIGMAS = (0.1, 0.2, 0.5, 1.0, 2.0)  # sigma_bar, noise on the [-1, 1] scale


def validate(net: UNet, diffusion: Diffusion, crops: Tensor) -> dict[str, float]:
    """Mean PSNR in dB at each of ``SIGMAS``, of crops (N, C, H, W) on [-1, 1]."""
    denoise = Prior(net.eval(), diffusion).denoiser()
    values = {sigma: denoised_psnr(denoise, crops, sigma).mean().item() for sigma in SIGMAS}
    return {f"psnr_sigma_{sigma:g}": round(value, 3) for sigma, value in values.items()}


def validation_crops(images: Sequence[np.ndarray], size: int) -> Tensor:
    """Crops of photographs as :func:`validate` takes them, always the same."""
    stream = CropStream(images, None, size, 0, 0, CROPS)
    return torch.stack([stream[i] for i in range(CROPS)]).float() / 127.5 - 1


def denoised_psnr(denoise: EpsDenoiser, crops: Tensor, sigma: float, batch: int = 32) -> Tensor:
    """(N,) PSNR in dB of the denoised crops (N, C, H, W) on [-1, 1]; always the same noise.

    The timestep is the one whose ``sigma_bar`` is nearest to ``sigma``.
    """
    schedule = denoise.schedule
    t = int(np.abs(np.log(schedule.sigma_bar / sigma)).argmin())
    noise = torch.randn(crops.shape, generator=torch.Generator().manual_seed(t)).to(crops)
    x_t = schedule.diffuse(crops, t, noise)
    x0 = torch.cat([denoise(part, t) for part in x_t.split(batch)])
    error = (x0.clamp(-1, 1) - crops).square().mean(dim=(1, 2, 3))
    return 10 * torch.log10(4 / error)
