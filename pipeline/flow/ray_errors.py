"""What went wrong in a worker, from inside of what Ray makes of it."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ray.exceptions import RayActorError, RayError

from manifests.secrets import redacted

OURS = ("diffpir.", "manifests.", "pipeline.")
ADVICE = re.compile(r"\nFailed to .* attempts \(")  # begins what Ray Data adds to an error's text


def in_words(error: Exception, uris: Iterable[str] = ()) -> str:
    """What stopped a flow, for the user, without the secrets of these URIs."""
    cause = _cause(error)
    text = ADVICE.split(str(cause))[0]
    if isinstance(cause, RayActorError):
        text = f"an actor failed: {str(cause).strip().splitlines()[-1]}"
    elif not type(cause).__module__.startswith(OURS):
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
