"""On the path of `scripts/test-perceptual`: lets PyPI's torchvision be imported without CUDA.

It was compiled for a torch with CUDA; beside another its compiled operators are missing, and its
import stops at two of them that no network here uses. Declared, they are not missed.
"""

import torch

if not torch.version.cuda:
    torchvision = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        torchvision.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
