"""Noise schedules in files: a table of numbers as ``.npy``, or as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from diffpir.errors import ConfigError
from diffpir.schedule import Schedule

MOST_BYTES = 2**24
TABLES = ("betas", "alphas_cumprod")  # keys of a JSON file, either
EXPECTED = "one row of betas or of alphas_cumprod, as .npy, or as .json"


def read_schedule(path: Path) -> Schedule:
    """The schedule of a file: ``.npy``, or ``.json`` that is a list, or has one under a key.

    Raises:
        ConfigError: it is none; names the file.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ConfigError(f"it has more than {MOST_BYTES} bytes")
        if path.suffix == ".json":
            content = json.loads(path.read_text())
            if isinstance(content, dict):
                content = next((content[key] for key in TABLES if key in content), content)
            return Schedule.of_table(content)
        return Schedule.of_table(np.load(path, allow_pickle=False))
    except ConfigError as e:
        raise ConfigError(f"{path}: {e}; expected {EXPECTED}") from None
    except (OSError, ValueError, EOFError, RecursionError) as e:
        raise ConfigError(f"{path}: not a noise schedule ({e}); expected {EXPECTED}") from None
