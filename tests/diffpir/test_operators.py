"""Every operator against the mathematics that defines it."""

import numpy as np
import pytest
import torch

from diffpir import Denoise, Downsample, Inpaint, Linear, PartialBlur, bayer, luminance
from diffpir.kernels import bicubic_kernel, centroid, gaussian_kernel, motion_kernel
from diffpir.operators.circular import pad_psf
from tests.support import golden

RNG = np.random.default_rng(0)
H, W = 24, 36


def kernels(*shapes) -> torch.Tensor:
    """One kernel per image, all of one shape."""
    made = [RNG.random(shape) for shape in shapes]
    return torch.tensor(np.stack([k / k.sum() for k in made]))


def partial(kernel, size=(12, 18), factor=1, *, hidden=0.0, masks=1, **settings) -> PartialBlur:
    """Solved to the end, so that it can be compared with the exact solution."""
    mask = torch.tensor(RNG.random((2, masks, *size)) >= hidden).double() if hidden else None
    return PartialBlur(
        kernels(kernel, kernel),
        size,
        factor,
        mask=mask,
        rtol=1e-14,
        max_iterations=10_000,
        least_rho=0,
        **settings,
    )


def scene(operator, seed: int) -> torch.Tensor:
    """A scene of the operator's size: its frame's, but where it reaches beyond."""
    if not isinstance(operator, PartialBlur):
        factor = getattr(operator, "factor", 1)
        return images(seed, (2, 3, H + -H % factor, W + -W % factor))
    return images(seed, operator.initial(torch.zeros(2, 3, *operator.size)).shape)


OPERATORS = {
    "denoise": Denoise(),
    "inpaint, one mask": Inpaint(torch.tensor(RNG.random((H, W)) < 0.5).double()),
    "inpaint, a mask each": Inpaint(torch.tensor(RNG.random((2, 1, H, W)) < 0.3).double()),
    "inpaint by channel": Inpaint(torch.tensor(RNG.random((2, 3, H, W)) < 0.6).double()),
    "blur, odd kernel": Downsample(kernels((7, 5))),
    "blur, even kernel, one each": Downsample(kernels((6, 8), (6, 8))),
    "blur, kernel of the image's size": Downsample(kernels((H, W))),
    "blur, gaussian": Downsample(torch.tensor(gaussian_kernel(13, 2.0))),
    "blur, not of unit sum": Downsample(3 * kernels((5, 5))),
    "reduction by 2": Downsample(kernels((5, 5), (5, 5)), 2),
    "reduction by 3, bicubic": Downsample(torch.tensor(bicubic_kernel(3)), 3),
    "reduction by 4, even kernel": Downsample(kernels((4, 4)), 4),
    "reduction by 5, bicubic": Downsample(torch.tensor(bicubic_kernel(2)), 5),
    "reduction by 6": Downsample(kernels((9, 9)), 6),
    "reduction by 8, one each": Downsample(kernels((11, 6), (11, 6)), 8),
    "luminance": luminance(torch.float64),
    "bayer": bayer(H, W, "gbrg", torch.float64),
    "blur, hidden pixels": partial((7, 6), boundary="circular", hidden=0.3),
    "blur, mirrored": partial((7, 6), boundary="reflect"),
    "blur, mirrored, larger than the frame": partial((31, 9), (12, 18), boundary="reflect"),
    "reduction by 3, mirrored": partial((7, 6), (8, 12), 3, boundary="reflect", hidden=0.2),
    "blur, unknown border": partial((7, 6), (9, 15)),
    "blur, unknown border, hidden pixels": partial((7, 6), (9, 15), hidden=0.3),
    "blur, unknown border, by channel": partial((5, 4), (7, 11), hidden=0.3, masks=3),
    "reduction by 4, unknown border": partial((7, 6), (4, 7), 4),
    "reduction by 5, unknown border": partial((9, 9), (3, 5), 5),
    "anybody's": Linear(
        lambda x: x.cumsum(dim=-1).mean(dim=1, keepdim=True),
        lambda y: y.flip(-1).cumsum(dim=-1).flip(-1).expand(-1, 3, -1, -1) / 3,
        rtol=1e-14,
        max_iterations=10_000,
    ),
}


@pytest.fixture(params=OPERATORS, name="operator")
def _operator(request):
    return OPERATORS[request.param]


def images(seed: int, shape=(2, 3, H, W)) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_adjoint(operator):
    x = scene(operator, 1)
    y = images(2, operator.forward(x).shape)
    left = (operator.forward(x) * y).sum()
    right = (x * operator.adjoint(y)).sum()
    torch.testing.assert_close(left, right, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("rho", [1e-7, 1e-2, 3.0, torch.tensor([1e-3, 10.0])])
def test_prox_solves_the_normal_equations(operator, rho):
    x = scene(operator, 3)
    y = operator.forward(scene(operator, 4))
    y = y + 0.1 * images(5, y.shape)
    if getattr(operator, "mask", None) is not None:
        y = y * operator.mask
    z = operator.prox(x, y, rho)
    rho = rho.reshape(-1, 1, 1, 1).double() if isinstance(rho, torch.Tensor) else rho
    gradient = operator.adjoint(operator.forward(z) - y) + rho * (z - x)
    assert gradient.abs().max() < 1e-9


@pytest.mark.parametrize("name", ["blur, unknown border", "blur, unknown border, by channel"])
def test_large_scenes_are_solved_channel_by_channel(name, monkeypatch):
    operator = OPERATORS[name]
    x, y = scene(operator, 3), images(4, (2, 3, *operator.size))
    uneven = 10 ** images(5, y.shape).clamp(-1, 1)
    whole = [operator.prox(x, y, rho) for rho in (0.1, uneven)]
    monkeypatch.setattr("diffpir.operators.partial.AT_ONCE", 1)
    for rho, expected in zip((0.1, uneven), whole, strict=True):
        torch.testing.assert_close(operator.prox(x, y, rho), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("shape", ["pixels", "channels", "pixels of all channels"])
def test_prox_weighs_each_value_by_its_own_noise(operator, shape, monkeypatch):
    """``sum (y - A z)^2 / rho + ||z - x||^2`` has no gradient there."""
    x = scene(operator, 3)
    y = operator.forward(scene(operator, 4))
    y = y + 0.1 * images(5, y.shape)
    if getattr(operator, "mask", None) is not None:
        y = y * operator.mask
    if isinstance(operator, Downsample):
        monkeypatch.setattr(operator, "rtol", 1e-14)
        monkeypatch.setattr(operator, "max_iterations", 10_000)
    levels = {
        "pixels": y.shape,
        "channels": (1, y.shape[1], 1, 1),
        "pixels of all channels": (len(y), 1, *y.shape[2:]),
    }
    rho = 10 ** images(6, levels[shape]).clamp(-1.5, 1)
    z = operator.prox(x, y, rho)
    gradient = operator.adjoint((operator.forward(z) - y) / rho) + z - x
    assert gradient.abs().max() < 1e-9


def test_shapes_of_scene_start_and_frame(operator):
    x = scene(operator, 13)
    y = operator.forward(x)
    assert operator.initial(y).shape == x.shape == operator.prox(x, y, 0.1).shape
    assert operator.impose(x, y).shape == x.shape
    factor = getattr(getattr(operator, "blur", operator), "factor", 1)
    assert operator.frame(x).shape[-2:] == (y.shape[-2] * factor, y.shape[-1] * factor)


@pytest.mark.parametrize("boundary", ["unknown", "reflect", "circular"])
@pytest.mark.parametrize("std", [1.5, 3.0])
def test_a_data_step_that_ends_early_does_not_magnify_what_rounding_did(boundary, std):
    """The exact one is nonexpansive. In single precision differences grew 5000 times."""
    size = (64, 72)
    kernel = torch.tensor(gaussian_kernel(25, std)).float()
    mask = None if boundary != "circular" else torch.ones(size)
    operator = PartialBlur(kernel, size, boundary=boundary, mask=mask)
    x = images(20, operator.initial(torch.zeros(1, 3, *size)).shape).float().cumsum(-1) / 20
    y = operator.forward(x)
    y = y + 0.1 * images(21, y.shape).float()
    other = x + 1e-3 * images(22, x.shape).float()
    for rho in (1e-9, 1e-7, 1e-5, 1e-3):
        moved = operator.prox(other, y, rho) - operator.prox(x, y, rho)
        assert moved.dtype == torch.float32 and moved.norm() < 10 * (other - x).norm()


def test_prox_is_accurate_in_float32_at_tiny_rho():
    """Where the form printed in the paper cancels: errors of 0.1 and more were seen."""
    exact = Downsample(torch.tensor(gaussian_kernel(21, 1.6)), 4)
    single = Downsample(torch.tensor(gaussian_kernel(21, 1.6)).float(), 4)
    truth = images(6).sigmoid()
    y, x = exact.forward(truth), truth + 0.05 * images(7)
    error = single.prox(x.float(), y.float(), 1e-7).double() - exact.prox(x, y, 1e-7)
    assert error.abs().max() < 1e-4


def test_each_image_has_its_own_kernel():
    both = kernels((5, 7), (5, 7))
    x, batch = images(8), Downsample(both, 2)
    y = batch.forward(x)
    for i in range(2):
        one = Downsample(both[i], 2)
        torch.testing.assert_close(one.forward(x[i : i + 1]), y[i : i + 1])
        torch.testing.assert_close(
            one.prox(x[i : i + 1], y[i : i + 1] + 1, 0.1),
            batch.prox(x, y + 1, 0.1)[i : i + 1],
        )


def test_convolution_is_circular_and_true():
    """Against the sum that defines it, with an asymmetric kernel of even height."""
    k = kernels((4, 3))
    x = images(9, (1, 1, 12, 10))
    direct = torch.zeros_like(x)
    for i in range(4):
        for j in range(3):
            direct += k[0, i, j] * x.roll((i - 4 // 2, j - 3 // 2), dims=(-2, -1))
    torch.testing.assert_close(Downsample(k).forward(x), direct)


@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-6), (torch.float32, 1e-5)])
@pytest.mark.parametrize("case", ["c0", "c1", "c2"])
def test_prox_agrees_with_the_authors_data_solution(case, dtype, tolerance):
    g = {name: torch.tensor(value) for name, value in golden("data_solution").items()}
    operator = Downsample(g[f"{case}_k"].to(dtype), int(g[f"{case}_sf"]))
    out = operator.prox(g[f"{case}_z"].to(dtype), g[f"{case}_y"].to(dtype), float(g[f"{case}_tau"]))
    assert (out - g[f"{case}_out"]).abs().max() < tolerance


@pytest.mark.parametrize("make", [bicubic_kernel, lambda s: gaussian_kernel(4 * s + 1, s / 2)])
@pytest.mark.parametrize("factor", [2, 3, 4])
def test_the_start_image_lies_where_the_scene_was(factor, make):
    """An enlargement that ignores where the kernel looks is shifted by up to 1.5 pixels."""
    rows, columns = torch.meshgrid(torch.arange(72.0), torch.arange(96.0), indexing="ij")
    x = (torch.sin(rows / 72 * 6.2832) + torch.cos(columns / 96 * 12.566))[None, None].double()
    operator = Downsample(torch.tensor(make(factor)), factor)
    start = operator.initial(operator.forward(x))
    inner = (..., slice(16, -16), slice(16, -16))
    aligned = (start - x)[inner].square().mean()
    assert start.shape == x.shape
    for shift in (-1, 1):
        assert aligned < 0.3 * (start - x.roll(shift, -1))[inner].square().mean()


def test_start_of_the_others_is_what_was_measured():
    y = images(10)
    mask = OPERATORS["inpaint, one mask"].mask
    assert torch.equal(Denoise().initial(y), y)
    assert torch.equal(Downsample(kernels((3, 5))).initial(y), y)
    assert torch.equal(OPERATORS["inpaint, one mask"].initial(y), y * mask)


def test_impose_returns_known_pixels_exactly():
    operator = OPERATORS["inpaint, a mask each"]
    x, y = images(11), images(12)
    imposed = operator.impose(x, y)
    known = operator.mask.expand_as(x) == 1
    assert torch.equal(imposed[known], y[known]) and torch.equal(imposed[~known], x[~known])
    assert torch.equal(Denoise().impose(x, y), y)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="larger than the image"):
        Downsample(kernels((25, 3))).forward(images(1))
    with pytest.raises(ValueError, match="no multiple of the factor 5"):
        Downsample(kernels((3, 3)), 5).forward(images(1))
    with pytest.raises(ValueError, match="at least 1"):
        Downsample(kernels((3, 3)), 0)
    with pytest.raises(ValueError, match=r"0 \(hidden\) and 1"):
        Inpaint(torch.full((H, W), 0.5))
    for shape in [(3, H, W), (W,), (1, 1, 1, H, W)]:  # three masks, or three channels?
        with pytest.raises(ValueError, match="a mask is"):
            Inpaint(torch.ones(shape))


def test_a_kernel_that_sums_to_zero_starts_from_where_it_is():
    kernel = torch.tensor([[0.0, 0.0, 0.0], [-1.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    assert Downsample(kernel, 2).initial(images(1)[..., :6, :8]).isfinite().all()


def test_gaussian_kernel_agrees_with_the_authors():
    ours = gaussian_kernel(61, 3.0)
    np.testing.assert_allclose(ours, golden("gaussian_kernels")["size_61_std_3_0"], atol=1e-8)


@pytest.mark.parametrize("intensity", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("size", [3, 15, 61])
def test_motion_kernels_are_kernels_and_reproducible(size, intensity):
    k = motion_kernel(size, intensity, np.random.default_rng(5))
    assert k.shape == (size, size) and k.min() >= 0 and abs(k.sum() - 1) < 1e-12
    assert centroid(torch.tensor(k)[None]).abs().max() < 0.5
    assert np.array_equal(k, motion_kernel(size, intensity, np.random.default_rng(5)))
    if size > 3:
        assert not np.allclose(k, motion_kernel(size, intensity, np.random.default_rng(6)))


def test_a_nervous_camera_leaves_a_more_crooked_trace():
    """The share of the trace's spread that lies off its main axis grows with the intensity."""

    def crookedness(intensity):
        shares = []
        for seed in range(20):
            k = motion_kernel(41, intensity, np.random.default_rng(seed))
            rows, columns = np.indices(k.shape)
            cov = np.cov(np.stack([rows.ravel(), columns.ravel()]), aweights=k.ravel())
            low, high = np.linalg.eigvalsh(cov)
            shares.append(low / high)
        return np.median(shares)

    assert crookedness(0.0) < 0.02 < crookedness(1.0)


def test_pad_psf_puts_the_origin_at_zero():
    k = torch.zeros(1, 4, 5)
    k[0, 2, 2] = 1
    assert pad_psf(k, 8, 9)[0, 0, 0] == 1
