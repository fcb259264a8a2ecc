"""How a file is fetched."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FetchPolicy:
    """Limits on fetching one file; the default has those of the storage layer and no others.

    Attributes:
        timeout: seconds for the whole file, with all that is tried again; None for no limit.
        retries: how often the file is tried again at most; None for no limit but the time.
        retry_seconds: how long after its first failure the file is tried again; None for
            ``$DIFFPIR_RETRY_SECONDS``.
        guarded: the URI comes from somebody who is not trusted. Over http and https, only public
            addresses and ``allowed_hosts`` are connected to, redirects included, and a host that
            failed for several files in a row is not asked again for a while.
        allowed_hosts: names, ``*.names``, addresses and networks (:mod:`manifests.storage.hosts`)
            that a guarded file may come from although their addresses are not public.
    """

    timeout: float | None = None
    retries: int | None = None
    retry_seconds: float | None = None
    guarded: bool = False
    allowed_hosts: tuple[str, ...] = ()


UNRESTRICTED = FetchPolicy()
