"""DiffPIR: image restoration with a diffusion model as the prior (arXiv 2305.08995).

The names below are imported on first use, so that ``import diffpir`` alone costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

_HOME = {
    "CheckpointError": "diffpir.errors",
    "ConfigError": "diffpir.errors",
    "CustomPrior": "diffpir.networks.custom",
    "Denoise": "diffpir.operators",
    "DiffPIRError": "diffpir.errors",
    "Downsample": "diffpir.operators",
    "EpsDenoiser": "diffpir.networks.denoiser",
    "Inpaint": "diffpir.operators",
    "Linear": "diffpir.operators",
    "NoiseModel": "diffpir.noise_model",
    "PRESETS": "diffpir.config",
    "PartialBlur": "diffpir.operators",
    "SamplerConfig": "diffpir.config",
    "Schedule": "diffpir.schedule",
    "bayer": "diffpir.operators",
    "builtin_path": "diffpir.networks.builtin",
    "gaussian_kernel": "diffpir.kernels",
    "load_model": "diffpir.networks.checkpoint",
    "luminance": "diffpir.operators",
    "motion_kernel": "diffpir.kernels",
    "noise_stream": "diffpir.randomness",
    "preset": "diffpir.config",
    "restore": "diffpir.sampler",
}

__all__ = list(_HOME)

if TYPE_CHECKING:  # which __getattr__ would tell that any name is there
    from diffpir.config import PRESETS as PRESETS
    from diffpir.config import SamplerConfig as SamplerConfig
    from diffpir.config import preset as preset
    from diffpir.errors import CheckpointError as CheckpointError
    from diffpir.errors import ConfigError as ConfigError
    from diffpir.errors import DiffPIRError as DiffPIRError
    from diffpir.kernels import gaussian_kernel as gaussian_kernel
    from diffpir.kernels import motion_kernel as motion_kernel
    from diffpir.networks.builtin import builtin_path as builtin_path
    from diffpir.networks.checkpoint import load_model as load_model
    from diffpir.networks.custom import CustomPrior as CustomPrior
    from diffpir.networks.denoiser import EpsDenoiser as EpsDenoiser
    from diffpir.noise_model import NoiseModel as NoiseModel
    from diffpir.operators import Denoise as Denoise
    from diffpir.operators import Downsample as Downsample
    from diffpir.operators import Inpaint as Inpaint
    from diffpir.operators import Linear as Linear
    from diffpir.operators import PartialBlur as PartialBlur
    from diffpir.operators import bayer as bayer
    from diffpir.operators import luminance as luminance
    from diffpir.randomness import noise_stream as noise_stream
    from diffpir.sampler import restore as restore
    from diffpir.schedule import Schedule as Schedule
else:

    def __getattr__(name):
        if name not in _HOME:
            raise AttributeError(f"module 'diffpir' has no attribute {name!r}")
        return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
