"""What the sampler needs of a measurement operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeGuard, overload, runtime_checkable

import torch
from torch import Tensor

Rho = float | Tensor
Map = Callable[[Tensor], Tensor]
# (height, width) -> power spectrum (C, H, W // 2 + 1) for ``rfft2``, symmetric.
Power = Callable[[int, int], Tensor]


class Operator(Protocol):
    """``A`` of ``y = A x + n``: pure methods, linear or affine, so that any value scale will do.

    ``x`` is the scene, (B, C, H, W), and ``y`` what is measured of it, (B, c, h, w); every image of
    a batch may have its own kernel or mask.
    """

    def forward(self, x: Tensor) -> Tensor:
        """``A x``."""
        ...

    def adjoint(self, y: Tensor) -> Tensor:
        """``A^T y``."""
        ...

    def prox(self, x: Tensor, y: Tensor, rho: Rho) -> Tensor:
        """The minimiser over z of ``||y - A z||^2 + rho ||z - x||^2``.

        In the residual form ``x + A^T (A A^T + rho)^-1 (y - A x)``, which stays accurate in float32
        at rho = 1e-7. ``rho > 0`` is a float or a tensor with one value per image; or with four
        axes that broadcast against y, where the noise is not the same everywhere: then the squares
        of the data are weighed with 1 / rho, and the prior's with 1.
        """
        ...

    def initial(self, y: Tensor) -> Tensor:
        """The image that sampling starts from, of the shape of x."""
        ...

    def impose(self, x: Tensor, y: Tensor) -> Tensor:
        """x with every value that a noiseless y determines replaced by its true one."""
        ...

    def frame(self, x: Tensor) -> Tensor:
        """The part of the scene that the picture shows: x itself, but for a scene beyond it."""
        ...


@runtime_checkable
class Invertible(Protocol):
    """An operator that helps the spectral data step.

    Attributes:
        alike: it treats all channels alike and apart, so that it can work on mixed ones as well.
        exact: :meth:`inverse` is what it stands for, and not only near it.
    """

    alike: bool
    exact: bool

    def inverse(self, rho: Rho, power: Power) -> Map:
        """``r -> (A S A^T + rho)^-1 r``, r of the shape of y, S of that power.

        Where not ``alike``, of mixed channels, and without what treats them otherwise.
        """
        ...

    def error_left(self, rho: Rho, power: Power) -> Power:
        """The power of ``S - S A^T (A S A^T + rho)^-1 A S``, the error of the data step's image.

        Its diagonal in the frequencies of the scene; a mask counts as a weaker A that
        hides no pixels. ``rho`` is the same for all pixels of an image.
        """
        ...


@runtime_checkable
class Decomposable(Protocol):
    """An operator whose singular values are at hand: the roots of the eigenvalues of ``A A^T``.

    No singular vectors are needed: with ``A^T`` of it, any function of the singular values can be
    applied to a scene.
    """

    def spectral(self, r: Tensor, f: Map) -> Tensor:
        """``f(A A^T) r``, for r of the shape of y.

        ``f`` maps the eigenvalues, a tensor with four axes that broadcasts against one value for
        each image, elementwise.
        """
        ...


def measured(operator: Operator, x: Tensor) -> Tensor:
    """Which values of y say anything of x, (B, c, h, w) bool; those under a mask do not.

    Asked with a random image: a constant one, which gradients do not see, would not tell.
    """
    probe = torch.rand(x.shape[1:], generator=torch.Generator().manual_seed(0))
    return operator.forward((0.5 + probe).to(x).expand_as(x).contiguous()) != 0


def batched_mask(mask: Tensor) -> Tensor:
    """A mask (H, W), (1, H, W) or (B, 1 or C, H, W), with four axes.

    Raises:
        ValueError: it has other axes: three might be those of images or of channels.
    """
    if mask.ndim == 2 or (mask.ndim == 3 and mask.shape[0] == 1):
        return mask.reshape(1, 1, *mask.shape[-2:])
    if mask.ndim != 4:
        raise ValueError(
            f"a mask is (H, W), (1, H, W) or (B, 1 or C, H, W), got {tuple(mask.shape)}"
        )
    return mask


@overload
def per_image(value: Tensor, like: Tensor) -> Tensor: ...
@overload
def per_image(value: Rho, like: Tensor) -> Rho: ...
def per_image(value: Rho, like: Tensor) -> Rho:
    """A float as it is; one value per image in the shape that broadcasts against (B, C, H, W).

    What has four axes already keeps them.
    """
    if not isinstance(value, Tensor) or value.ndim == 0:
        return value
    return value.to(like) if value.ndim == 4 else value.to(like).reshape(-1, 1, 1, 1)


def of_pixels(rho: Rho) -> TypeGuard[Tensor]:
    """Whether rho differs from pixel to pixel of an image."""
    return isinstance(rho, Tensor) and rho.ndim == 4 and rho.shape[-2:] != (1, 1)


def of_channels(rho: Rho) -> TypeGuard[Tensor]:
    """Whether rho differs from channel to channel of an image."""
    return isinstance(rho, Tensor) and rho.ndim == 4 and rho.shape[1] != 1
