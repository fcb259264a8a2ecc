"""DiffPIR: image restoration with a diffusion model as the prior (arXiv 2305.08995).

    restore          the sampler: measurements in, restored images out
    SamplerConfig    its settings; preset and PRESETS hold sets of them by name
    noise_stream     the random numbers of each image, from its seed

    load_model       a checkpoint's network; builtin_path is the prior that ships with the package
    EpsDenoiser      a network as the denoiser that the sampler needs
    Schedule         the noise levels of the diffusion
    CustomPrior      a prior of your own code, for jobs

    Denoise, Downsample, PartialBlur, Inpaint, bayer, luminance, Linear
                     operators: how a measurement was made
    NoiseModel       noise that depends on light, channel or pixel
    gaussian_kernel, motion_kernel
                     blur kernels

    DiffPIRError, ConfigError, CheckpointError
                     what can go wrong

Images are tensors (batch, channels, height, width) on [0, 1]. To restore pictures in one call, see
:func:`pipeline.restore_images`. Names are imported on first use, so that ``import diffpir`` alone
costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

_HOME = {
    "restore": "diffpir.sampler",
    "SamplerConfig": "diffpir.config",
    "preset": "diffpir.config",
    "PRESETS": "diffpir.config",
    "noise_stream": "diffpir.randomness",
    "load_model": "diffpir.checkpoints.checkpoint",
    "builtin_path": "diffpir.checkpoints.builtin",
    "EpsDenoiser": "diffpir.networks.denoiser",
    "CustomPrior": "diffpir.networks.custom",
    "Schedule": "diffpir.schedule",
    "Denoise": "diffpir.operators",
    "Downsample": "diffpir.operators",
    "PartialBlur": "diffpir.operators",
    "Inpaint": "diffpir.operators",
    "bayer": "diffpir.operators",
    "luminance": "diffpir.operators",
    "Linear": "diffpir.operators",
    "NoiseModel": "diffpir.noise_model",
    "gaussian_kernel": "diffpir.kernels",
    "motion_kernel": "diffpir.kernels",
    "DiffPIRError": "diffpir.errors",
    "ConfigError": "diffpir.errors",
    "CheckpointError": "diffpir.errors",
}

__all__ = list(_HOME)

if TYPE_CHECKING:  # which __getattr__ would tell that any name is there
    from diffpir.checkpoints.builtin import builtin_path as builtin_path
    from diffpir.checkpoints.checkpoint import load_model as load_model
    from diffpir.config import PRESETS as PRESETS
    from diffpir.config import SamplerConfig as SamplerConfig
    from diffpir.config import preset as preset
    from diffpir.errors import CheckpointError as CheckpointError
    from diffpir.errors import ConfigError as ConfigError
    from diffpir.errors import DiffPIRError as DiffPIRError
    from diffpir.kernels import gaussian_kernel as gaussian_kernel
    from diffpir.kernels import motion_kernel as motion_kernel
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
