"""The prior that ships with the package; see ``weights/MODEL_CARD.md``."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def builtin_path() -> str:
    """Return the path of the checkpoint of the small prior that ships with this package.

    The model card ``diffpir/weights/MODEL_CARD.md`` describes this prior.

    Examples:
        >>> from diffpir import builtin_path
        >>> builtin_path().endswith("prior.safetensors")
        True
    """
    return str(Path(str(files("diffpir"))) / "weights" / "prior.safetensors")
