"""The kernels for GPUs against what they stand for: on a GPU, or else in Triton's interpreter."""

from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from diffpir.networks.precision import layout_for, place
from diffpir.networks.unet import UNet, UNetConfig

pytest.importorskip("triton", reason="Triton is not installed")
from diffpir.networks import triton_kernels as kernels
from diffpir.networks.fused import fuse

ON = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture(autouse=True)
def exact():
    torch.manual_seed(0)
    with torch.inference_mode():
        yield


def images(*shape: int) -> torch.Tensor:
    return torch.randn(shape, device=ON).contiguous(memory_format=torch.channels_last)


def norm_of(channels: int) -> nn.GroupNorm:
    norm = nn.GroupNorm(32, channels).to(ON).requires_grad_(False)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm


def resampled(x: torch.Tensor, resample: str | None) -> torch.Tensor:
    if resample == "up":
        return F.interpolate(x, scale_factor=2)
    return F.avg_pool2d(x, 2) if resample else x


@pytest.mark.parametrize("resample", [None, "up", "down"])
@pytest.mark.parametrize("channels", [96, 256])
@pytest.mark.parametrize("of_bias, of_scale", [(0, 0), (1, 1), (2, 1), (2, 2)])
def test_norm_and_silu(channels, resample, of_bias, of_scale):
    x, norm = images(2, channels, 6, 10), norm_of(channels)
    bias = torch.randn(of_bias, channels, device=ON) if of_bias else None
    film = torch.randn(of_scale, 2 * channels, device=ON) if of_scale else None
    found = kernels.norm_silu(x, norm, bias=bias, scale_shift=film, resample=resample)
    h = norm(x if bias is None else x + bias[:, :, None, None])
    if film is not None:
        scale, shift = film[:, :, None, None].chunk(2, dim=1)
        h = h * (1 + scale) + shift
    torch.testing.assert_close(found, resampled(F.silu(h), resample), rtol=1e-4, atol=1e-5)
    assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("side", [1, 9, 130])  # less than a tile, and several to a chunk
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_variance_of_what_lies_far_from_zero(side, dtype):
    x, norm = images(1, 32 * 2, side, side + 1), norm_of(64)
    x = (100 + x).to(dtype)
    expected = F.silu(F.group_norm(x.double(), 32, norm.weight.double(), norm.bias.double()))
    torch.testing.assert_close(kernels.norm_silu(x, norm).double(), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("resample", [None, "up", "down"])
def test_a_sum(resample):
    x, bias = images(2, 64, 12, 20), torch.randn(64, device=ON)
    h = resampled(images(2, 64, 12, 20), resample)
    expected = h + bias[:, None, None] + resampled(x, resample)
    torch.testing.assert_close(kernels.add(h.clone(), bias, x, resample=resample), expected)


@pytest.mark.parametrize("first, second", [(32, 32), (96, 64), (256, 128)])
def test_joining(first, second):
    x, y = images(3, first, 5, 7), images(3, second, 5, 7)
    assert torch.equal(kernels.concatenate(x, y), torch.cat([x, y], dim=1))


def test_other_layouts_are_taken():
    x = torch.randn(2, 64, 6, 10, device=ON)
    assert torch.equal(kernels.enlarged(x), F.interpolate(x, scale_factor=2))
    assert torch.equal(kernels.concatenate(x, x), torch.cat([x, x], dim=1))


def test_what_does_not_fit_is_refused():
    x, y = images(1, 32, 4, 4), images(1, 64, 2, 2)
    with pytest.raises(ValueError, match="cannot be joined"):
        kernels.concatenate(x, y)
    with pytest.raises(ValueError, match="cannot be added"):
        kernels.add(x, torch.zeros(32, device=ON), images(1, 32, 4, 4), resample="up")


NETWORKS = {
    "resampling in blocks": dict(
        level_channels=(32, 96), attention_levels=(1,), num_heads=2, resblock_updown=True
    ),
    "diffusers' and the original DDPM's": dict(
        level_channels=(48, 96),
        attention_levels=(1,),
        num_heads=1,
        use_scale_shift_norm=False,
        norm_groups=16,
        norm_eps=1e-2,
        freq_shift=1.0,
        asymmetric_downsampling=True,
    ),
    "resampling between blocks, labels": dict(
        level_channels=(32, 64), use_scale_shift_norm=False, num_heads=1, num_classes=3
    ),
}


def network(name: str) -> UNet:
    net = UNet(UNetConfig(model_channels=32, num_res_blocks=1, **NETWORKS[name]))
    return net.requires_grad_(False).to(ON).eval()


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("shape, times", [((1, 3, 8, 12), 1), ((2, 3, 4, 8), 2)])
def test_a_network(name, shape, times):
    net = network(name)
    x, t = images(*shape), torch.tensor([300, 20][:times], device=ON)
    given = (t, torch.tensor([2, 0][:times], device=ON)) if net.config.num_classes else (t,)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        expected = deepcopy(net).double()(x.double(), *given)
        found = fuse(deepcopy(net))(x, *given)
    assert (found - expected).norm() < 1e-5 * expected.norm()


@pytest.mark.parametrize("groups", [1, 3, 16, 48])
def test_norms_of_any_number_of_groups_and_eps(groups):
    x = images(2, 48, 6, 10)
    norm = nn.GroupNorm(groups, 48, eps=0.1).to(ON).requires_grad_(False)
    found = kernels.norm_silu(x, norm)
    torch.testing.assert_close(found, F.silu(norm(x)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_as_near_as_without(dtype):
    net, t = network("resampling in blocks"), torch.tensor([300], device=ON)
    x = images(1, 3, 8, 12)
    half = deepcopy(net).to(dtype)
    half.out.to(torch.float32)
    exact = net(x, t)
    plain, found = half(x.to(dtype), t), fuse(deepcopy(half))(x.to(dtype), t)
    assert found.dtype == torch.float32
    assert (found - exact).norm() < 1.5 * (plain - exact).norm()


def test_a_fused_network_can_be_placed_elsewhere():
    net = network("resampling in blocks")
    x, t = torch.randn(1, 3, 8, 8), torch.tensor([7])
    expected = deepcopy(net).cpu()(x, t)
    again = place(fuse(deepcopy(net)), "cpu", "fp32")
    assert type(again) is UNet and torch.equal(again(x, t), expected)


@pytest.mark.skipif(ON.type == "cpu", reason="no GPU")
def test_half_precision_on_a_gpu_is_fused():
    net = place(network("resampling in blocks"), "cuda", "bf16")
    assert net.fused and layout_for(net) == torch.channels_last
    assert layout_for(place(net, "cuda", "fp32")) == torch.contiguous_format
