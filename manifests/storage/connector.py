"""HTTP connections to allowed hosts only. Imported late: aiohttp takes long to import."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp.abc import ResolveResult

from manifests.storage.hosts import AllowedHosts, HostNotAllowedError


class GuardedConnector(aiohttp.TCPConnector):
    """Connects to public addresses and to allowed hosts.

    What is checked are the addresses that are then connected to, whatever the name server answers
    at another time. With a proxy, these are the proxy's.
    """

    def __init__(self, allowed_hosts: tuple[str, ...]):
        super().__init__()
        self._entries, self._allowed = allowed_hosts, AllowedHosts.of(allowed_hosts)

    async def _resolve_host(
        self, host: str, port: int, traces: Sequence[Any] | None = None
    ) -> list[ResolveResult]:
        # aiohttp's own recipe against forged requests (its "Client Middleware Cookbook"). Every
        # new connection comes through here, those of redirects and of addresses in URLs too; a
        # resolver would not be asked for the latter.
        found = await super()._resolve_host(host, port, traces)
        allowed = [result for result in found if self._allowed.allow(host, result["host"])]
        if not allowed:
            raise HostNotAllowedError(host, [result["host"] for result in found], self._entries)
        return allowed


@dataclass(frozen=True)
class GuardedClient:
    """Makes clients with such a connector.

    fsspec tells file systems apart by the texts of their options, so it is no plain function.
    """

    allowed_hosts: tuple[str, ...]

    async def __call__(self, **options: Any) -> aiohttp.ClientSession:
        options["connector"] = GuardedConnector(self.allowed_hosts)
        return aiohttp.ClientSession(**options)
