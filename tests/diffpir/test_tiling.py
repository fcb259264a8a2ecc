"""Tiles against the whole image."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage import data

from diffpir import EpsDenoiser, Schedule, builtin_path, load_model
from diffpir.networks.denoiser import pad_to_multiple
from diffpir.tiling import Tiled


def images(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def local(reach: int):
    """A denoiser that looks ``reach`` pixels far, and 4 pixels a step, as a network that pools."""

    def denoise(x, t):
        small = F.avg_pool2d(pad_to_multiple(x, 4), 4)
        width = 2 * (reach // 4) + 1
        wide = F.avg_pool2d(F.pad(small, [reach // 4] * 4, mode="replicate"), width, stride=1)
        return (F.interpolate(wide, scale_factor=4) + t)[..., : x.shape[2], : x.shape[3]]

    return denoise


@pytest.mark.parametrize("height, width", [(64, 64), (65, 64), (130, 71), (47, 301), (200, 203)])
@pytest.mark.parametrize("tile, overlap, pixels", [(64, 32, 1), (48, 40, 7000), (64, 60, 10**6)])
def test_a_network_that_looks_no_further_than_a_quarter_of_the_overlap_sees_no_tiles(
    height, width, tile, overlap, pixels
):
    x = images(2, 3, height, width)
    denoise = local(overlap // 4 // 4 * 4 - 4)
    (whole,) = Tiled(denoise, 1024, overlap)([x], 7)
    calls = []

    def counted(x, t):
        calls.append(x.shape)
        return denoise(x, t)

    tiled = Tiled(counted, tile, overlap, pixels, multiple=4)
    # The whole image is padded at its end by what the network wants, and cropped again.
    torch.testing.assert_close(tiled([x], 7)[0], whole, rtol=0, atol=1e-12)
    assert all(n[0] == 1 or n[0] * n[2] * n[3] <= pixels for n in calls)
    assert all(max(shape[2:]) <= tile for shape in calls) or not tiled.cuts(height, width)
    assert sum(n[0] * n[2] * n[3] for n in calls) == 2 * tiled.pixels_seen(height, width)


@pytest.mark.parametrize("count, seen", [(1, [1]), (3, [4]), (5, [6]), (6, [6]), (9, [6, 4])])
def test_calls_of_few_shapes_are_filled_up_and_give_the_same(count, seen):
    x, calls = images(count, 3, 16, 16), []

    def denoise(x, t):
        calls.append(len(x))
        return x.cumsum(dim=-1) + t

    pixels = 6 * 16**2
    (filled,) = Tiled(denoise, 64, 32, pixels, few_shapes=True)([x], 7)
    assert calls == seen
    assert torch.equal(filled, Tiled(denoise, 64, 32, pixels)([x], 7)[0])


def test_images_of_all_sizes_share_calls_and_are_what_they_are_alone():
    sizes = [(64, 64), (63, 62), (130, 71), (64, 64), (200, 203), (61, 301)]
    states = [images(1 + i % 2, 3, *size) for i, size in enumerate(sizes)]
    denoise, calls = local(4), []

    def counted(x, t):
        calls.append(tuple(x.shape))
        return denoise(x, t)

    together = Tiled(counted, 64, 32, 8 * 64**2, multiple=4)(states, 7)
    alone = [Tiled(denoise, 64, 32, 1, multiple=4)([x], 7)[0] for x in states]
    for x, x0, expected in zip(states, together, alone, strict=True):
        assert x0.shape == x.shape
        torch.testing.assert_close(x0, expected, rtol=0, atol=1e-12)
    # Of every size of tile, one call at most is not full.
    for size in {shape[2:] for shape in calls}:
        full = 8 * 64**2 // (size[0] * size[1])
        assert sum(shape[2:] == size and shape[0] < full for shape in calls) <= 1
    assert len({shape[2:] for shape in calls}) < len(sizes)


@pytest.mark.parametrize("size", [64, 65, 100, 1000, 4001])
@pytest.mark.parametrize("tile, overlap", [(64, 0), (64, 16), (64, 63), (512, 96)])
def test_weights_sum_to_one_and_tiles_cover_everything(size, tile, overlap):
    total = np.zeros(size)
    for start, window in Tiled(None, tile, overlap)._windows(size):
        assert len(window) == min(tile, size) and window.min() >= 0
        total[start : start + len(window)] += window.numpy()
    np.testing.assert_allclose(total, 1)


@pytest.mark.parametrize("multiple", [1, 8, 64])
def test_tiles_overlap_as_far_as_was_asked_at_least(multiple):
    for size in range(576, 4000, 64):
        starts = [start for start, _ in Tiled(None, 512, 96, multiple=multiple)._windows(size)]
        gaps = np.diff(starts)
        assert gaps.min() > 0 and gaps.max() <= 512 - 96 and not (gaps % multiple).any()
        assert starts[-1] + 512 == size
        steps = -(-(size - 512) // ((512 - 96) // multiple * multiple))
        assert len(gaps) == steps  # and no tile more than that takes


def test_what_cannot_be_is_refused():
    for tile, overlap, multiple in ((60, 10, 8), (64, 64, 8), (0, 0, 1)):
        with pytest.raises(ValueError, match="multiple of"):
            Tiled(local(4), tile, overlap, multiple=multiple)


@pytest.fixture(scope="module")
def denoise():
    return EpsDenoiser(load_model(builtin_path()), Schedule.linear())


def noisy(t: int) -> torch.Tensor:
    clean = torch.tensor(data.astronaut()[:400, :512]).permute(2, 0, 1)[None] / 127.5 - 1
    a = float(Schedule.linear().alpha_bar[t])
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
    return a**0.5 * clean + (1 - a) ** 0.5 * noise


@pytest.mark.parametrize("t", [20, 200, 500])
def test_tiling_changes_little_and_leaves_no_seams(denoise, t):
    """With the embedded prior, whose attention looks at the whole of what it is given."""
    x = noisy(t)
    stride = denoise.net.config.stride
    whole = denoise(x, t).clamp(-1, 1)
    tiled = Tiled(denoise, 256, 96, 2 * 256**2, stride)
    x0 = tiled([x], t)[0].clamp(-1, 1)
    error = (x0 - whole).square().mean()
    assert -10 * torch.log10(error / 4) > 33  # dB

    # Along the lines where tiles end, the step to the next pixel is not larger than elsewhere.
    for dim in (-2, -1):
        steps = (x0 - whole).diff(dim=dim).abs().mean(dim=(0, 1, -1 if dim == -2 else -2))
        ends = {start for start, _ in tiled._windows(x.shape[dim])} - {0}
        ends |= {start + 256 for start, _ in tiled._windows(x.shape[dim])} - {x.shape[dim]}
        at_ends = torch.stack([steps[end - 1] for end in ends])
        assert at_ends.max() < 2 * steps.median()


def test_the_larger_the_tiles_the_nearer_to_the_whole(denoise):
    x, stride = noisy(200)[..., :256, :320], denoise.net.config.stride
    whole = denoise(x, 200).clamp(-1, 1)

    def error(tile: int, overlap: int) -> float:
        x0 = Tiled(denoise, tile, overlap, 2**17, stride)([x], 200)[0].clamp(-1, 1)
        return float((x0 - whole).square().mean())

    seams, small, large = error(64, 0), error(64, 48), error(256, 48)
    assert large < 0.5 * small < 0.5 * seams
    assert error(320, 312) == 0  # one tile
