"""The U-Net for half precision on a GPU: its convolutions, and Triton's kernels between them."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from diffpir.networks.triton_kernels import add, concatenate, enlarged, norm_silu
from diffpir.networks.unet import ResBlock, UNet, Upsample, norm_and_conv


def fuse(net: UNet) -> UNet:
    """``net`` itself, with these kernels; for channels-last input, and without gradients."""
    return _become({UNet: FusedUNet, ResBlock: FusedResBlock, Upsample: FusedUpsample}, net)


def unfuse(net: UNet) -> UNet:
    """``net`` itself, without them again."""
    return _become({FusedUNet: UNet, FusedResBlock: ResBlock, FusedUpsample: Upsample}, net)


def _become(classes: dict[type, type], net: UNet) -> UNet:
    for module in net.modules():
        module.__class__ = classes.get(type(module), type(module))
    return net.requires_grad_(False)


class FusedUNet(UNet):
    fused = True

    def join(self, x: Tensor, skip: Tensor) -> Tensor:
        return concatenate(x, skip)

    def head(self, x: Tensor) -> Tensor:
        norm, conv = norm_and_conv(self.out)
        out: Tensor = conv(norm_silu(x, norm))
        return out


class FusedResBlock(ResBlock):
    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        norm, conv = norm_and_conv(self.in_layers)
        h, bias = _convolved(norm_silu(x, norm, resample=self.resample), conv)
        emb, bias = self.emb_layers(emb), bias[None]
        norm, conv = norm_and_conv(self.out_layers)
        if self.scale_shift:
            h = norm_silu(h, norm, bias=bias, scale_shift=emb)
        else:
            h = norm_silu(h, norm, bias=bias + emb)
        h, bias = _convolved(h, conv)
        if isinstance(self.skip_connection, nn.Conv2d):
            x, skip_bias = _convolved(x, self.skip_connection)
            bias = bias + skip_bias
        return add(h, bias, x, resample=self.resample)


class FusedUpsample(Upsample):
    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(enlarged(x))
        return out


def _convolved(x: Tensor, conv: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """The convolution without its bias, and the bias, which the next kernel adds."""
    assert conv.bias is not None
    return F.conv2d(x, conv.weight, padding=conv.padding), conv.bias
