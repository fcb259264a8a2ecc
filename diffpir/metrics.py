"""Image quality, one value per image, for (B, 3, H, W) on [0, 1]."""

from __future__ import annotations

import torch
from torch import Tensor

from diffpir.noise_model import NoiseModel
from diffpir.operators import Compressed, Interval, Operator, measured, per_image
from diffpir.sampling import SIGMA_FLOOR, NoiseLevel

SSIM_WINDOW = 11  # pixels; the Gaussian window of Wang et al. 2004


def load() -> None:
    """Import what the scores need, which takes a second, and which most processes do without."""
    import torchmetrics.functional.image  # noqa: F401


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB, (B,); infinite where the images are equal."""
    from torchmetrics.functional.image import peak_signal_noise_ratio

    return peak_signal_noise_ratio(a, b, data_range=1.0, reduction="none", dim=(1, 2, 3))


def psnr_y(a: Tensor, b: Tensor) -> Tensor:
    """PSNR in dB of the BT.601 luma, (B,): the convention of super-resolution tables."""
    return psnr(luma(a), luma(b))


def luma(x: Tensor) -> Tensor:
    """BT.601 studio-range luma as MATLAB's rgb2ycbcr gives it, (B, 1, H, W), 16/255 to 235/255."""
    weights = torch.tensor([65.481, 128.553, 24.966], dtype=x.dtype, device=x.device)
    return ((weights[:, None, None] * x).sum(dim=1, keepdim=True) + 16) / 255


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004), (B,); NaN for images smaller than its window.

    Windows that hang over the border see the image mirrored there; scikit-image leaves them out,
    which tells in small images: 0.02 at 64 x 64 pixels.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    if min(a.shape[-2:]) < SSIM_WINDOW:
        return a.new_full((len(a),), float("nan"))
    kind = a.dtype
    if a.is_cuda:  # where convolutions in float32 are in TF32, which errs by up to 0.04
        a, b = a.double(), b.double()
    # Channel by channel, which is the same mean: of large images it takes a lot of memory.
    values = []
    for pair in zip(a.split(1, dim=1), b.split(1, dim=1), strict=True):
        value = structural_similarity_index_measure(
            *pair, data_range=1.0, kernel_size=SSIM_WINDOW, sigma=1.5, reduction="none"
        )
        assert isinstance(value, Tensor)  # a tuple where its parts are asked for too
        values.append(value.reshape(len(a)))
    return torch.stack(values).mean(dim=0).to(kind)


def residual(x: Tensor, operator: Operator, y: Tensor, noise_level: NoiseLevel) -> Tensor:
    """``||A x - y||`` per measured value in units of the noise, (B,): 1 is a perfect fit.

    Far above 1 the result contradicts the measurement; far below it reproduces its noise. A noise
    level under 0.001, the sampler's floor and the rounding error of 8 bits, counts as that. Where
    the noise is not the same everywhere, each value counts in units of its own.

    Of an :class:`~diffpir.operators.Interval`, and of what was compressed since, it is the share of
    what was measured that x honours.
    """
    if isinstance(operator, Interval | Compressed):
        return operator.kept(x)
    known = measured(operator, x).expand_as(y)
    a = operator.forward(x)
    sigma = (
        noise_level.std(a)
        if isinstance(noise_level, NoiseModel)
        else per_image(torch.as_tensor(noise_level, dtype=x.dtype, device=x.device), x)
    )
    error = torch.where(known, (a - y) / sigma.clamp(min=SIGMA_FLOOR), 0)
    total = error.square().sum(dim=(1, 2, 3))
    return (total / known.sum(dim=(1, 2, 3)).clamp(min=1)).sqrt()


def fill_hidden(y: Tensor, mask: Tensor) -> Tensor:
    """The baseline of inpainting: each hidden pixel takes the mean of the known ones near it.

    "Near" is the smallest square window (3, 5, 9, 17, ... pixels) that holds a known pixel.
    """
    mask = mask.to(y).reshape((1,) * (4 - mask.ndim) + mask.shape)
    seen, known = y * mask, mask.clone()
    filled = seen
    reach = 1
    while not known.bool().all() and reach < 2 * max(y.shape[-2:]):
        window = 2 * reach + 1
        count = _box(mask, window)
        fresh = (known == 0) & (count > 0.5 / window**2)
        filled = torch.where(fresh, _box(seen, window) / count.clamp(min=1e-12), filled)
        known = torch.where(fresh, 1.0, known)
        reach *= 2
    return filled


def _box(x: Tensor, window: int) -> Tensor:
    """Mean over a square window, zeros outside, by running sums: as fast for a large window."""
    return torch.cat([_run(_run(one, window, -2), window, -1) for one in x.split(1, dim=1)], dim=1)


def _run(x: Tensor, window: int, axis: int) -> Tensor:
    size = x.shape[axis]
    sums = x.cumsum(axis, dtype=torch.float64)
    sums = torch.cat([torch.zeros_like(sums.narrow(axis, 0, 1)), sums], dim=axis)
    centre = torch.arange(size, device=x.device)
    above = sums.index_select(axis, (centre + window // 2 + 1).clamp(max=size))
    below = sums.index_select(axis, (centre - window // 2).clamp(min=0))
    return ((above - below) / window).to(x.dtype)
