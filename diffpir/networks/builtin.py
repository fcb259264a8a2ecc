"""The prior that ships with the package; see ``weights/MODEL_CARD.md``."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def builtin_path() -> str:
    """Path of the embedded prior's checkpoint."""
    return str(Path(str(files("diffpir"))) / "weights" / "prior.safetensors")
