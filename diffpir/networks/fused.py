"""The U-Net for half precision on a GPU: its convolutions, and Triton's kernels between them."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from diffpir.networks.triton_kernels import add, concatenate, enlarged, norm_silu
from diffpir.networks.unet import ResBlock, UNet, Upsample


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
        norm, _, conv = self.out
        return conv(norm_silu(x, norm))


class FusedResBlock(ResBlock):
    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        norm, _, conv = self.in_layers
        h = F.conv2d(norm_silu(x, norm, resample=self.resample), conv.weight, padding=1)
        emb, bias = self.emb_layers(emb), conv.bias[None]
        norm, _, _, conv = self.out_layers
        if self.scale_shift:
            h = norm_silu(h, norm, bias=bias, scale_shift=emb)
        else:
            h = norm_silu(h, norm, bias=bias + emb)
        h, bias = F.conv2d(h, conv.weight, padding=1), conv.bias
        if isinstance(self.skip_connection, nn.Conv2d):
            bias = bias + self.skip_connection.bias
            x = F.conv2d(x, self.skip_connection.weight)
        return add(h, bias, x, resample=self.resample)


class FusedUpsample(Upsample):
    def forward(self, x: Tensor) -> Tensor:
        return self.conv(enlarged(x))
