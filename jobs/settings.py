"""The user's own configuration: what holds for all of a user's commands, and for no job file.

It is the YAML file that ``$DIFFPIR_CONFIG`` names, or ``~/.config/diffpir/config.yaml``:

    allow_code: [my.module]   # modules and packages of my own that jobs may import
"""

from __future__ import annotations

import os
from pathlib import Path

import yaml
from pydantic import Field, ValidationError

from pipeline.errors import PipelineError
from pipeline.spec.base import Spec

VARIABLE = "DIFFPIR_CONFIG"


class Settings(Spec):
    """What a user has set for all commands.

    Attributes:
        allow_code: names of modules and packages that jobs may import.
    """

    allow_code: tuple[str, ...] = Field(default=())


def user_settings() -> Settings:
    """The user's configuration; where there is none, the usual one.

    Raises:
        PipelineError: the file cannot be read, or holds something else.
    """
    given = os.environ.get(VARIABLE)
    config = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    file = Path(given or os.path.join(config, "diffpir", "config.yaml"))
    try:
        return Settings.model_validate(yaml.safe_load(file.read_bytes()) or {})
    except FileNotFoundError:
        if given:
            raise PipelineError(f"${VARIABLE}: no such file: {file}") from None
        return Settings()
    except ValidationError as e:
        fault = e.errors(include_url=False)[0]
        where = ".".join(map(str, fault["loc"])) or "the whole"
        raise PipelineError(
            f"{file}: {where}: {fault['msg']}; expected keys such as allow_code: [my.module]"
        ) from None
    except (OSError, ValueError, yaml.YAMLError) as e:
        raise PipelineError(f"{file}: cannot be read as YAML: {e}") from None
