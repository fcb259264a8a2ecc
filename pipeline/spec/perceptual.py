"""The networks that score restored images by what they see in them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from pipeline.spec.base import ImportPath, Location, Spec


class Perceptual(Spec):
    """Each by the path or URI of its weights; what is not given is not computed.

    Attributes:
        lpips_vgg, lpips_alex: torchvision's weights of VGG-16 and AlexNet.
        inception: torch-fidelity's weights of Inception-v3, for FID and KID.
        features: another network for these two, ``module:factory``; the factory takes nothing and
            returns a ``torch.nn.Module``, (B, 3, H, W) on [0, 1] -> (B, D).
    """

    lpips_vgg: Location | None = None
    lpips_alex: Location | None = None
    inception: Location | None = None
    features: Annotated[ImportPath | None, Field(examples=["my.module:make"])] = None

    @model_validator(mode="after")
    def _one_of_features(self):
        if self.inception and self.features:
            raise ValueError("inception and features are two networks for one column: give one")
        return self

    @property
    def weights(self) -> dict[str, str]:
        """Key -> path or URI, of the keys that name a file."""
        return self.model_dump(exclude={"features"}, exclude_none=True)
