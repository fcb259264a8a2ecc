"""Failures of HTTP that trying again does not cure, in words. Imported late, as aiohttp is."""

from __future__ import annotations

import socket
import ssl

import aiohttp
from yarl import URL

from manifests.storage.hosts import HostNotAllowedError
from manifests.uris import origin_of

# Servers that do not know the method (501) or the version of HTTP (505) will not learn them.
PASSING_STATUS = {408, 425, 429, *range(500, 600)} - {501, 505}
_NO_SUCH_NAME = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}
_BROKEN_OFF = (ssl.SSLEOFError, ssl.SSLSyscallError, ssl.SSLZeroReturnError)


def permanent_cause(error: BaseException) -> tuple[str, str] | None:
    """What went wrong, secrets included, and its kind; None for what may pass or is not of HTTP."""
    if isinstance(error, HostNotAllowedError):
        return str(error), "host_not_allowed"
    if isinstance(error, aiohttp.RedirectClientError):
        wrong = "is not http or https"
        if isinstance(error, aiohttp.InvalidURL):
            wrong = "is not a valid URL"
        target = str(error.args[0]) if error.args else "something"
        return f"redirects to {target}, which {wrong}", "bad_redirect"
    if isinstance(error, aiohttp.TooManyRedirects):
        target = error.history[-1].headers.get("Location", "")
        count = len(error.history)
        return f"{count} redirects in a row, the last to {target}", "bad_redirect"
    if isinstance(error, aiohttp.ClientSSLError):
        cause = error.__cause__
        if isinstance(cause, _BROKEN_OFF):
            return None
        why = getattr(cause, "verify_message", "") or getattr(cause, "reason", "") or cause
        return f"no trusted connection to the host {error.host}: {why}", "tls"
    if isinstance(error, aiohttp.ClientConnectorError):
        cause = error.os_error
        if isinstance(cause, socket.gaierror) and cause.errno in _NO_SUCH_NAME:
            return f"there is no host with the name {error.host}", "unknown_host"
        return None
    if isinstance(error, aiohttp.ClientResponseError) and 400 <= error.status < 500:
        if error.status in PASSING_STATUS or error.status in (401, 403, 404, 410):
            return None  # the latter are said as those of other storages
        return f"the server answers {error.status} {error.message}".rstrip(), "refused"
    return None


def is_of_host(error: BaseException, uri: str) -> bool:
    """Whether what may pass is a failure of the URI's host: it gives no answer, or a fault's.

    A host that asks for patience (429) is well, and so is one that redirects to another which
    fails.
    """
    if isinstance(error, aiohttp.ClientResponseError):
        return error.status >= 500 and not error.history
    if isinstance(error, aiohttp.ClientConnectorError):
        origin = origin_of(uri)
        asked = URL(origin) if origin else None
        return asked is None or (error.host, error.port) == (asked.raw_host, asked.port)
    return True
