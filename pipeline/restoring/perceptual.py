"""Perceptual scores of a row: the networks that the job names, and the columns that they fill."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from diffpir.errors import DiffPIRError
from diffpir.perceptual.inception import SOURCE, Inception
from diffpir.perceptual.lpips import SOURCES, Lpips
from manifests import storage
from manifests.errors import StorageError
from pipeline.errors import PipelineError
from pipeline.spec.perceptual import Perceptual
from pipeline.users_code import factory_of
from pipeline.versions import digest_of

LPIPS = {f"lpips_{network}": network for network in SOURCES}  # the network that a key names
WANTED = {"inception": SOURCE, **{key: SOURCES[network] for key, network in LPIPS.items()}}


def with_absolute_paths(spec: Perceptual) -> Perceptual:
    """As all machines of a cluster can be told it."""
    places = {key: storage.absolute(file) for key, file in spec.weights.items()}
    return spec.model_copy(update=places)


class PerceptualMetrics:
    """LPIPS and Inception networks that score restored images, loaded as ``spec`` says.

    Raises:
        PipelineError: a library, a file or a network is missing, or is another than it should be.
    """

    def __init__(self, spec: Perceptual, device: str | torch.device = "cpu"):
        self.device = device
        self.digests: dict[str, str] = {}
        self.lpips: dict[str, Lpips] = {}
        self.features: nn.Module | None = None
        for key, location in spec.weights.items():
            try:
                path = storage.cached_local(location)
                if key == "inception":
                    self.features = Inception(path)
                else:
                    self.lpips[key] = Lpips(LPIPS[key], path, device)
            except DiffPIRError as e:
                raise PipelineError(f"perceptual.{key}: {e}") from None
            except StorageError as e:
                raise PipelineError(
                    f"perceptual.{key}: {e}; the file to fetch is {WANTED[key]}"
                ) from None
            self.digests[key] = digest_of(path)
        if spec.features:
            self.features = _users_network(spec.features)
            self.digests["features"] = spec.features
        if self.features is not None:
            self.features.to(device).requires_grad_(False).eval()

    def __call__(self, x: Tensor, reference: Tensor | None) -> dict:
        """Columns of one image (1, 3, H, W) on [0, 1], and of its reference if it has one."""
        columns: dict = {}
        if reference is not None:
            for name, lpips in self.lpips.items():
                value = lpips(x, reference).item()
                columns[name] = None if math.isnan(value) else value
        if self.features is not None:
            columns["fid_features"] = self._seen(self.features, x)
            if reference is not None:
                columns["fid_reference_features"] = self._seen(self.features, reference)
        return columns

    def _seen(self, network: nn.Module, x: Tensor):
        return network(x.to(self.device).float())[0].float().cpu().numpy()


def _users_network(name: str) -> nn.Module:
    try:
        network = factory_of(name)()
        if not isinstance(network, nn.Module):
            raise TypeError(f"it returned {type(network).__name__}, expected a torch.nn.Module")
        network.eval()
        probes = [network(torch.zeros(1, 3, *size)) for size in ((64, 64), (48, 80))]
        good = all(isinstance(probe, Tensor) and probe.ndim == 2 for probe in probes)
        good = good and len(probes[0]) == 1 and probes[0].shape == probes[1].shape
    except Exception as e:
        raise PipelineError(f"perceptual.features: {name}: {type(e).__name__}: {e}") from None
    if not good:
        raise PipelineError(
            f"perceptual.features: {name}: of a tensor (B, 3, H, W) its network must make one of "
            "(B, D), with the same D for all sizes"
        )
    return network
