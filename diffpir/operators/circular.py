"""Blur and reduction that wrap around the border: diagonal in the frequencies of the FFT."""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from diffpir.kernels import centroid
from diffpir.operators.protocol import Map, Power, Rho, of_pixels, per_image
from diffpir.operators.solver import level_of, prox_by_cg, uneven


class Downsample:
    """Blur with a border that wraps around, and keep one pixel of each s x s block.

    With ``factor=1`` this is blur alone. The operator convolves x with the kernel, circularly, and
    keeps the upper-left pixel of each block. The kernel is a point-spread function (true
    convolution, with its origin at index ``size // 2`` of each axis).

    The data step is the closed form of Zhang et al. 2020 (USRNet, eq. 7), computed from the
    residual: ``A A^T`` is diagonal in the frequencies of y. Where the noise differs between pixels
    there is no closed form, and conjugate gradients in double precision take its place.

    Args:
        kernel: (kh, kw) or (B, kh, kw), real; one for all images or one for each.
        factor: s, 1 or more; height and width of x must be multiples of s.
        rtol: the relative residual at which the conjugate gradients end.
        max_iterations: of the conjugate gradients at most.
        least_rho: the smallest rho of the conjugate gradients, as for :class:`diffpir.PartialBlur`.

    Raises:
        ValueError: the kernel has other axes, or ``factor`` is below 1.

    Examples:
        >>> import torch
        >>> from diffpir import Downsample, gaussian_kernel
        >>> blur = Downsample(torch.tensor(gaussian_kernel(9, 1.5)).float(), factor=2)
        >>> blur.forward(torch.ones(1, 3, 16, 16)).shape
        torch.Size([1, 3, 8, 8])
    """

    alike = exact = True

    def __init__(
        self,
        kernel: Tensor,
        factor: int = 1,
        *,
        rtol: float = 1e-3,
        max_iterations: int = 20,
        least_rho: float = 1e-5,
    ):
        if kernel.ndim not in (2, 3):
            raise ValueError(f"a kernel is (kh, kw) or (B, kh, kw), got {tuple(kernel.shape)}")
        if factor < 1:
            raise ValueError(f"factor must be at least 1, got {factor}")
        self.kernel = kernel if kernel.ndim == 3 else kernel[None]
        self.factor = factor
        self.rtol, self.max_iterations, self.least_rho = rtol, max_iterations, least_rho
        # Spectra by image size: they are needed at every step, and depend on nothing else.
        self._spectra: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

    def forward(self, x: Tensor) -> Tensor:
        otf, _ = self._spectrum(*x.shape[-2:])
        return filtered(x, otf)[..., :: self.factor, :: self.factor]

    def adjoint(self, y: Tensor) -> Tensor:
        s = self.factor
        x = y.new_zeros(*y.shape[:-2], y.shape[-2] * s, y.shape[-1] * s)
        x[..., ::s, ::s] = y
        otf, _ = self._spectrum(*x.shape[-2:])
        return filtered(x, otf.conj())

    def gram(self, r: Tensor) -> Tensor:
        """``A A^T r``, for r of the shape of y."""
        return filtered(r, self._gain(r))

    def prox(self, x: Tensor, y: Tensor, rho: Rho) -> Tensor:
        if not of_pixels(rho):
            return x + self.adjoint(self.solve(y - self.forward(x), rho))
        rho = rho.double().clamp(min=self.least_rho)
        level = level_of(rho, (2, 3))
        precise = Downsample(self.kernel.double(), self.factor)
        return prox_by_cg(
            precise.forward,
            precise.adjoint,
            x.double(),
            y.double(),
            rho,
            gram=precise.gram,
            precondition=uneven(lambda r: precise.solve(r, level), level, rho),
            dims=(2, 3),
            rtol=self.rtol,
            max_iterations=self.max_iterations,
        ).to(x.dtype)

    def solve(self, r: Tensor, rho: Rho) -> Tensor:
        """``(A A^T + rho)^-1 r``, for r of the shape of y."""
        return filtered(r, 1 / (self._gain(r) + per_image(rho, r)))

    def inverse(self, rho: Rho, power: Power) -> Map:
        @cache
        def reciprocal(height: int, width: int) -> Tensor:
            s = self.factor
            otf, _ = self._spectrum(height * s, width * s)
            gain = (otf.real**2 + otf.imag**2) * power(height * s, width * s)
            if s > 1:
                gain = _aliased(_whole(gain, width * s), s)[..., : width // 2 + 1]
            whole: Tensor = 1 / (gain + per_image(rho, gain))
            return whole

        return lambda r: filtered(r, reciprocal(*r.shape[-2:]))

    def error_left(self, rho: Rho, power: Power) -> Power:
        def left(height: int, width: int) -> Tensor:
            s = self.factor
            otf, _ = self._spectrum(height, width)
            variance = power(height, width)
            gain = (otf.real**2 + otf.imag**2) * variance
            seen = gain  # of all frequencies that fold onto one
            if s > 1:
                seen = _aliased(_whole(gain, width), s).repeat(1, 1, s, s)[..., : width // 2 + 1]
            return variance * (1 - gain / s**2 / (seen + per_image(rho, gain)))

        return left

    def spectral(self, r: Tensor, f: Map) -> Tensor:
        return filtered(r, f(self._gain(r)))

    def initial(self, y: Tensor) -> Tensor:
        return enlarge(y, self.kernel, self.factor)

    def impose(self, x: Tensor, y: Tensor) -> Tensor:
        return x  # no single pixel is determined

    def frame(self, x: Tensor) -> Tensor:
        return x

    def _gain(self, r: Tensor) -> Tensor:
        return self._spectrum(*(self.factor * side for side in r.shape[-2:]))[1]

    def _spectrum(self, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Transfer function (B, 1, H, W // 2 + 1) and eigenvalues of ``A A^T``, for y's rfft2."""
        if (height, width) not in self._spectra:
            s = self.factor
            if height % s or width % s:
                raise ValueError(f"{width} x {height} is no multiple of the factor {s}")
            otf = torch.fft.fft2(pad_psf(self.kernel, height, width))
            power = otf.real**2 + otf.imag**2
            gain = _aliased(power, s)
            self._spectra[height, width] = (
                otf[:, None, :, : width // 2 + 1],
                gain[:, None, :, : width // s // 2 + 1],
            )
        return self._spectra[height, width]


def _aliased(power: Tensor, s: int) -> Tensor:
    """(..., H, W) -> (..., H / s, W / s), the mean of the s x s frequencies that fold onto one."""
    height, width = power.shape[-2:]
    folded = power.unflatten(-1, (s, width // s)).unflatten(-3, (s, height // s))
    mean: Tensor = folded.mean(dim=(-4, -2))
    return mean


def _whole(power: Tensor, width: int) -> Tensor:
    """(..., H, W // 2 + 1) of ``rfft2`` -> (..., H, W) of ``fft2``, for a real image's power."""
    mirrored = power[..., 1 : (width + 1) // 2].flip(-1).flip(-2).roll(1, dims=-2)
    return torch.cat([power, mirrored], dim=-1)


def pad_psf(kernel: Tensor, height: int, width: int) -> Tensor:
    """(B, kh, kw) -> (B, H, W), with the kernel's origin (``size // 2``) moved to pixel (0, 0).

    Raises:
        ValueError: the kernel is larger than the image.
    """
    kh, kw = kernel.shape[-2:]
    if kh > height or kw > width:
        raise ValueError(f"a kernel of {kw} x {kh} is larger than the image, {width} x {height}")
    psf = F.pad(kernel, (0, width - kw, 0, height - kh))
    return psf.roll((-(kh // 2), -(kw // 2)), dims=(-2, -1))


def filtered(x: Tensor, spectrum: Tensor) -> Tensor:
    image: Tensor = torch.fft.irfft2(torch.fft.rfft2(x) * spectrum, s=x.shape[-2:])
    return image


def enlarge(y: Tensor, kernel: Tensor, factor: int) -> Tensor:
    """y itself (factor 1), or its bicubic enlargement, aligned with what each pixel saw.

    Pixel i of y gathers light around ``i s - m`` of x, where m is how far the kernel's centroid
    lies from its origin; an enlargement that ignores m is shifted.
    """
    if factor == 1:
        return y
    b, _, h, w = y.shape
    s = factor
    shift = -centroid(kernel).to(y).expand(b, 2)

    def coordinates(size: int, c: Tensor) -> Tensor:  # of x's pixels on y's [-1, 1] axis
        u = torch.arange(size * s, dtype=y.dtype, device=y.device)
        return ((u - c[:, None]) / s * 2 + 1) / size - 1

    rows, columns = coordinates(h, shift[:, 0]), coordinates(w, shift[:, 1])
    grid = torch.stack(
        [
            columns[:, None, :].expand(b, h * s, w * s),
            rows[:, :, None].expand(b, h * s, w * s),
        ],
        dim=-1,
    )
    return F.grid_sample(y, grid, "bicubic", padding_mode="border", align_corners=False)
