import numpy as np
import pytest
import torch

from diffpir import Denoise, Downsample, Inpaint, Linear, gaussian_kernel, metrics
from diffpir.kernels import bicubic_kernel
from diffpir.masks import box_mask, random_mask
from diffpir.noise_model import NoiseModel
from diffpir.resize import bicubic_downsample
from diffpir.synthesis import synthesise
from tests.support import golden


def image(array):
    return torch.tensor(array).permute(2, 0, 1)[None].double() / 255


def test_psnr_agrees_with_the_authors():
    g = golden("metrics")
    a, b = image(g["a"]), image(g["b"])
    inner = (..., slice(4, -4), slice(4, -4))
    assert metrics.psnr(a, b).item() == pytest.approx(float(g["psnr"]), abs=1e-5)
    assert metrics.psnr(a[inner], b[inner]).item() == pytest.approx(
        float(g["psnr_border4"]), abs=1e-5
    )
    assert metrics.psnr_y(a, b).item() == pytest.approx(float(g["psnr_y"]), abs=1e-5)


def test_ssim_agrees_with_scikit_image():
    from skimage.metrics import structural_similarity

    g = golden("metrics")
    a, b = g["a"] / 255, g["b"] / 255
    expected, full = structural_similarity(
        a, b, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
        data_range=1.0, full=True,
    )  # fmt: skip
    # Theirs leaves out windows that hang over the border; ours mirrors the image there.
    ours = metrics.ssim(image(g["a"]), image(g["b"])).item()
    assert ours == pytest.approx(full.mean(), abs=1e-3) and abs(ours - expected) < 0.02


def test_metrics_are_per_image():
    a = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    b = (a + torch.tensor([0.0, 0.01, 0.1]).reshape(3, 1, 1, 1)).clamp(0, 1)
    assert metrics.psnr(a, b)[0] == torch.inf
    assert metrics.psnr(a, b)[1] > metrics.psnr(a, b)[2] + 15
    assert metrics.ssim(a, b).shape == (3,) and metrics.ssim(a, b)[0] == pytest.approx(1)
    assert metrics.ssim(a[..., :8], b[..., :8]).isnan().all()


@pytest.mark.parametrize("sigma", [0.01, 0.1])
def test_the_truth_fits_the_measurement_up_to_its_noise(sigma):
    x = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    mask = torch.tensor(random_mask(64, 64, 0.7, np.random.default_rng(0)))
    for operator in (Downsample(torch.tensor(gaussian_kernel(9, 2.0)).float(), 2), Inpaint(mask)):
        y = synthesise(x, operator, sigma, seed=3)
        level = torch.tensor([sigma])
        assert metrics.residual(x, operator, y, level).item() == pytest.approx(1, abs=0.05)
        assert metrics.residual(x * 0.5, operator, y, level).item() > 2


@pytest.mark.parametrize(
    "poisson", [0.0, 0.01, torch.tensor([0.02, 0.0, 0.001])[None, :, None, None]]
)
def test_the_truth_fits_where_noise_is_not_the_same_everywhere(poisson):
    x = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(1))
    of_pixels = 0.01 + 0.1 * torch.rand(1, 1, 96, 96, generator=torch.Generator().manual_seed(2))
    mask = torch.tensor(random_mask(96, 96, 0.3, np.random.default_rng(0)))
    for operator, gaussian in (
        (Denoise(), of_pixels),
        (Inpaint(mask), torch.tensor([0.01, 0.02, 0.1])[None, :, None, None]),
        (Downsample(torch.tensor(gaussian_kernel(9, 2.0)).float(), 2), 0.02),
    ):
        model = NoiseModel(gaussian, poisson)
        y = synthesise(x, operator, model, seed=3)
        n = (y - operator.forward(x)) / model.std(operator.forward(x))
        known = metrics.measured(operator, x).expand_as(n)
        assert n[known].mean().item() == pytest.approx(0, abs=0.03)
        assert metrics.residual(x, operator, y, model).item() == pytest.approx(1, abs=0.03)
        weakest_first = n[known][model.std(operator.forward(x)).expand_as(n)[known].argsort()]
        for part in weakest_first.chunk(6):
            assert part.std().item() == pytest.approx(1, abs=0.06)
        assert metrics.residual(x * 0.5, operator, y, model).item() > 2


def test_what_a_derivative_measures_has_noise_and_a_residual():
    """Of a constant image it sees nothing, which says nothing of what it sees of others."""
    x = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    operator = Linear(lambda x: x - x.roll(1, -1), lambda y: y - y.roll(-1, -1))
    y = synthesise(x, operator, 0.1, seed=3)
    assert (y - operator.forward(x)).std().item() == pytest.approx(0.1, rel=0.05)
    assert metrics.residual(x, operator, y, 0.1).item() == pytest.approx(1, abs=0.05)


def test_hidden_pixels_are_filled_from_the_nearest_known_ones():
    y = torch.zeros(1, 1, 40, 40)
    y[..., 20:] = 1.0
    mask = torch.tensor(box_mask(40, 40, 9, np.random.default_rng(0)))
    mask[..., 0, :] = 1
    filled = metrics.fill_hidden(y * mask, mask)
    known = mask.expand(1, 1, 40, 40) == 1
    assert torch.equal(filled[known], y[known])
    assert filled.min() >= 0 and filled.max() <= 1
    constant = metrics.fill_hidden(0.3 * mask[None], mask)
    torch.testing.assert_close(constant, torch.full_like(constant, 0.3))


@pytest.mark.parametrize("holes", [0.5, 0.95, 0.999])
def test_what_hidden_pixels_are_filled_with(holes):
    """The mean of the known pixels in the smallest window with any, pixel by pixel."""
    rng = np.random.default_rng(0)
    y, mask = rng.random((3, 23, 31)), rng.random((23, 31)) >= holes
    mask[3, 28] = True
    filled = metrics.fill_hidden(torch.tensor(y)[None] * torch.tensor(mask), torch.tensor(mask))
    for row, column in np.argwhere(~mask):
        reach = 1
        while True:
            window = np.s_[
                max(row - reach, 0) : row + reach + 1, max(column - reach, 0) : column + reach + 1
            ]
            if mask[window].any():
                break
            reach *= 2
        expected = [channel[window][mask[window]].mean() for channel in y]
        np.testing.assert_allclose(filled[0, :, row, column], expected, rtol=1e-9)


def test_bicubic_reduction_agrees_with_matlab():
    g = golden("bicubic_downsample")
    for case in ("c0", "c1"):
        ours = bicubic_downsample(image(g[f"{case}_H"]), int(g[f"{case}_sf"]))
        expected = torch.tensor(g[f"{case}_L"]).permute(2, 0, 1)[None]
        assert (ours - expected).abs().max() < 1e-6


@pytest.mark.parametrize("factor", [2, 3, 4, 5, 8])
def test_the_bicubic_kernel_is_that_reduction(factor):
    x = torch.rand(1, 1, 24 * factor, 20 * factor, dtype=torch.float64)
    kernel = torch.tensor(bicubic_kernel(factor))
    inner = (..., slice(4, -4), slice(4, -4))  # at the border one reflects, the other wraps
    by_kernel = Downsample(kernel, factor).forward(x)[inner]
    torch.testing.assert_close(by_kernel, bicubic_downsample(x, factor)[inner])


@pytest.mark.parametrize("hidden", [0.0, 0.5, 0.92, 1.0])
def test_random_masks_hide_the_share_asked_for(hidden):
    mask = random_mask(30, 50, hidden, np.random.default_rng(0))
    assert (mask == 0).sum() == round(hidden * 1500) and set(np.unique(mask)) <= {0, 1}


def test_box_masks_stay_off_the_border():
    corners = set()
    for seed in range(50):
        mask = box_mask(128, 96, 40, np.random.default_rng(seed))[0]
        rows, columns = np.nonzero(mask == 0)
        assert len(rows) == 1600 and rows.min() >= 16 and rows.max() < 112
        assert columns.min() >= 16 and columns.max() < 80
        corners.add((rows.min(), columns.min()))
    assert len(corners) > 20
    assert box_mask(40, 40, 40, np.random.default_rng(0)).sum() == 0
    with pytest.raises(ValueError, match="does not fit"):
        box_mask(40, 39, 40, np.random.default_rng(0))
