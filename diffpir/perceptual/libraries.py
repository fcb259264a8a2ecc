"""The libraries of the extra ``perceptual``, imported only where they are asked for."""

from __future__ import annotations

import importlib
from types import ModuleType

from diffpir.errors import ConfigError


def library(name: str) -> ModuleType:
    """Import a module of the extra.

    Raises:
        ConfigError: it is not installed, or cannot be imported.
    """
    try:
        return importlib.import_module(name)
    except (ImportError, RuntimeError) as e:  # RuntimeError: a torchvision for another torch
        raise ConfigError(
            f"{name} cannot be imported ({e}); pip install 'diffpir-on-ray[perceptual]', with a "
            "torchvision that was built for the installed torch"
        ) from None
