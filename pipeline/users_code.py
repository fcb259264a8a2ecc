"""Code of the user's own that a job names: it is imported only where the user allowed that."""

from __future__ import annotations

import functools
import hashlib
import importlib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from pipeline.spec.job import JobSpec


def check_allowed(code: Mapping[str, str], allowed: Collection[str]) -> None:
    """A job file may be a stranger's, and what it names would run with the user's rights.

    Args:
        code: field of the job -> ``module:factory`` (:meth:`JobSpec.code`).
        allowed: names of modules and packages that the user trusts.

    Raises:
        PipelineError: the job names another module.
    """
    for field, path in code.items():
        module = path.partition(":")[0]
        if not any(module == name or module.startswith(f"{name}.") for name in allowed):
            raise PipelineError(
                f"{field}: {path} is Python code that this job would run, and the module {module} "
                f"is not among those that you allow; if you trust it, add --allow-code {module} to "
                f"the command, or allow_code: [{module}] to your own configuration"
            )


def factory_of(path: str) -> Callable[..., Any]:
    """What ``module:factory`` names.

    Raises:
        Exception: of whatever class, if the module cannot be imported or has no such factory.
    """
    module, _, name = path.partition(":")
    source_digest(path)  # of what is imported now, and not of what the file holds later
    return getattr(importlib.import_module(module), name)


@functools.cache
def source_digest(path: str) -> str:
    """SHA-256 of the file of the module that ``module:factory`` names, when it was first asked.

    And of the module's ``__version__``, if it has one. Other modules that it imports do not count.

    Raises:
        Exception: as :func:`factory_of`.
    """
    module = importlib.import_module(path.partition(":")[0])
    file = getattr(module, "__file__", None)
    source = Path(file).read_bytes() if file else b""
    version = getattr(module, "__version__", "")  # of a library, whose source has many files
    return hashlib.sha256(source + str(version).encode()).hexdigest()


def code_digests(spec: JobSpec) -> dict[str, str]:
    """Field of the job -> digest of the module that it names.

    Raises:
        PipelineError: a module cannot be imported.
    """
    digests = {}
    for field, path in spec.code().items():
        try:
            digests[field] = source_digest(path)
        except ModuleNotFoundError as e:
            library = (e.name or "").partition(".")[0]
            if library == path.partition(":")[0].partition(".")[0]:
                mend = (
                    "it must be importable on every machine: install it (pip install), or name its "
                    "folder in PYTHONPATH"
                )
            else:
                mend = f"install {library}, which it imports"
            raise PipelineError(f"{field}: {path}: {e}; {mend}") from None
        except Exception as e:
            raise PipelineError(f"{field}: {path}: {type(e).__name__}: {e}") from None
    return digests
