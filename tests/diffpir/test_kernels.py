"""Kernels with one or two parameters, against what defines them."""

import numpy as np
import pytest
import torch

from diffpir.kernels import centroid, disk_kernel, gaussian_kernel, motion_kernel, stroke_kernel
from diffpir.masks import random_mask


@pytest.mark.parametrize("angle", [0, 30, 45, 90, 135, -17.5])
@pytest.mark.parametrize("length", [0.5, 1, 6, 25])
def test_a_stroke_has_its_length_and_its_angle(length, angle):
    k = stroke_kernel(length, angle)
    assert k.min() >= 0 and k.sum() == pytest.approx(1) and k.shape[0] % 2 == 1
    assert centroid(torch.tensor(k)[None]).abs().max() < 1e-9
    rows, columns = np.indices(k.shape) - k.shape[0] // 2
    along = columns * np.cos(np.deg2rad(angle)) - rows * np.sin(np.deg2rad(angle))
    across = columns * np.sin(np.deg2rad(angle)) + rows * np.cos(np.deg2rad(angle))
    # A uniform stroke's variance, and what bilinear drawing adds: at most 1/4 in each direction.
    assert 0 <= (k * along**2).sum() - length**2 / 12 <= 0.26
    assert (k * across**2).sum() <= 0.26


def test_a_horizontal_stroke_is_even():
    assert stroke_kernel(5, 0)[3, 2:5] == pytest.approx(0.2)


@pytest.mark.parametrize("radius", [0.2, 0.5, 1, 1.5, 4, 12.3])
def test_a_disk_is_even_round_and_as_large_as_said(radius):
    k = disk_kernel(radius)
    assert k.min() >= 0 and k.sum() == pytest.approx(1) and k.shape[0] % 2 == 1
    assert k == pytest.approx(k[::-1]) and k == pytest.approx(k[:, ::-1])
    assert abs(k - k.T).max() < 0.02 * k.max()
    rows, columns = np.indices(k.shape) - k.shape[0] // 2
    away = np.hypot(rows, columns)
    assert k[away < radius - 1] * np.pi * radius**2 == pytest.approx(1, abs=0.01)
    assert not k[away > radius + 1].any()


RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    "make, arguments",
    [
        (gaussian_kernel, (9, 0)),
        (gaussian_kernel, (9, -1.0)),
        (gaussian_kernel, (0, 1.0)),
        (disk_kernel, (0,)),
        (stroke_kernel, (0, 30)),
        (motion_kernel, (2, 0.5, RNG)),
        (motion_kernel, (9, 1.5, RNG)),
        (random_mask, (10, 10, -0.1, RNG)),
        (random_mask, (10, 10, 1.1, RNG)),
    ],
)
def test_what_makes_no_kernel_or_mask_is_refused(make, arguments):
    with pytest.raises(ValueError, match="got"):
        make(*arguments)
