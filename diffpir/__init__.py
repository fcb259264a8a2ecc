"""DiffPIR: image restoration with a diffusion model as the prior (arXiv 2305.08995).

The names below are imported on first use, so that ``import diffpir`` alone costs nothing.
"""

from importlib import import_module

__version__ = "0.1.0"

_HOME = {
    "CheckpointError": "diffpir.errors",
    "ConfigError": "diffpir.errors",
    "Denoise": "diffpir.operators",
    "DiffPIRError": "diffpir.errors",
    "Downsample": "diffpir.operators",
    "EpsDenoiser": "diffpir.networks.denoiser",
    "Inpaint": "diffpir.operators",
    "Linear": "diffpir.operators",
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


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'diffpir' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
