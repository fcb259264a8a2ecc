"""What went wrong in a worker, from inside of what Ray makes of it."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ray.exceptions import RayActorError, RayError

from manifests.errors import ManifestError
from manifests.secrets import redacted
from pipeline.errors import PipelineError

ADVICE = re.compile(r"\nFailed to .* attempts \(")  # begins what Ray Data adds to an error's text


def in_words(error: Exception, uris: Iterable[str] = ()) -> str:
    """What stopped a flow, for the user, without the secrets of these URIs."""
    cause = _cause(error)
    text = ADVICE.split(str(cause))[0]
    if isinstance(cause, RayActorError):
        text = f"an actor failed: {_last_line(cause)}"
    elif not isinstance(cause, PipelineError | ManifestError):
        text = f"{type(cause).__name__}: {text}"
    return redacted(text, uris)


def first_line(error: BaseException) -> str:
    """What Ray says first; advice and logs follow."""
    return (str(error).strip().splitlines() or [""])[0]


def _cause(error: BaseException) -> BaseException:
    while True:
        inner = getattr(error, "cause", None) if isinstance(error, RayError) else None
        inner = inner or error.__cause__
        if not isinstance(inner, BaseException) or not str(inner):  # Ray Data's may have no words
            return error
        error = inner


def _last_line(error: RayActorError) -> str:
    """What its actor raised: Ray has it as the last line of a traceback."""
    line = str(error).strip().splitlines()[-1]
    name, _, text = line.partition(": ")
    ours = name.startswith(("diffpir.", "manifests.", "pipeline."))
    return text if ours and text else line
