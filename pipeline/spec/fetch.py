"""How long a job tries to fetch the files of its rows."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from manifests.storage import FetchPolicy
from pipeline.spec.base import Seconds, Spec

WEB = ("http", "https")


class Fetch(Spec):
    """Limits on fetching one file; what is None depends on where the file lies.

    Attributes:
        timeout: seconds for the file, with all that is tried again; None for 60 over http and
            https, else 300.
        retries: how often the file is tried again at most, if its storage fails in a way that may
            pass; None for 3 over http and https, else as often as ``retry_seconds`` allow.
        retry_seconds: from the first failure on, after which the file is not tried again; None for
            20 over http and https, else ``$DIFFPIR_RETRY_SECONDS`` (120). Files of local disks are
            never tried again.
    """

    timeout: Seconds | None = None
    retries: Annotated[int, Field(ge=0, le=1000)] | None = None
    retry_seconds: Annotated[float, Field(ge=0, le=86400)] | None = None

    def policy(self, scheme: str, allowed_hosts: tuple[str, ...]) -> FetchPolicy:
        """For a row's file of a scheme (:func:`manifests.uris.scheme_of`)."""
        web = scheme in WEB  # which has many dead hosts
        return FetchPolicy(
            timeout=self.timeout or (60.0 if web else 300.0),  # ten times 600 MB at 20 MB/s
            retries=3 if web and self.retries is None else self.retries,
            retry_seconds=20.0 if web and self.retry_seconds is None else self.retry_seconds,
            guarded=True,
            allowed_hosts=allowed_hosts,
        )
