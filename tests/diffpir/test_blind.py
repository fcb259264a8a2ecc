"""Blurs told from blurred photographs, against those that were applied."""

import numpy as np
import pytest
import torch
from skimage import data

from diffpir.blind import estimate_blur
from diffpir.errors import EstimationError
from diffpir.kernels import disk_kernel, gaussian_kernel
from diffpir.operators import Downsample

PICTURES = ("astronaut", "coffee", "chelsea", "camera")


def blurred(name: str, kernel: np.ndarray) -> torch.Tensor:
    """With noise 0.01, cut out of the middle: what was beyond the frame is not its other side."""
    picture = np.atleast_3d(getattr(data, name)()).astype(np.float32) / 255
    x = torch.from_numpy(picture.transpose(2, 0, 1).copy())[None]
    y = Downsample(torch.from_numpy(kernel).float()).forward(x)[..., 20:-20, 20:-20]
    return y + 0.01 * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("std", [1, 2, 3, 5])
def test_a_gaussian_blur_is_told_within_20_percent(std):
    for name in PICTURES:
        y = blurred(name, gaussian_kernel(61, std))
        assert estimate_blur(y, "gaussian", 0.01) == pytest.approx(std, rel=0.2), name


@pytest.mark.parametrize("radius", [2, 5])
def test_a_defocus_is_told_within_20_percent(radius):
    for name in PICTURES:
        y = blurred(name, disk_kernel(radius))
        assert estimate_blur(y, "disk", 0.01) == pytest.approx(radius, rel=0.2), name


def test_a_small_image_is_refused():
    with pytest.raises(EstimationError, match="99 x 63 pixels are too few"):
        estimate_blur(torch.rand(1, 3, 63, 99), "disk", 0.1)
