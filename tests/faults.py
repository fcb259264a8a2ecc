"""A reverse proxy to an S3 server that injects faults, in a thread of the test process.

    with FaultyProxy(url, rates={"slow_down": 0.05, "lost_reply": 0.05}, seed=0) as proxy:
        ...  # talk to proxy.url
    assert proxy.counts["lost_reply"] > 0

What it passes on is unchanged: path, ``Host`` and body are as signed.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections import Counter

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

KINDS = ("slow_down", "reset", "lost_reply", "stall", "truncate")
"""The faults.

``slow_down``: 503 with S3's error, without forwarding. ``reset``: the connection is reset before
anything is forwarded. ``lost_reply``: reset after the server has done what was asked.
``stall``: nothing for ``stall_seconds``, then the end of the connection. ``truncate``: all headers
and half of the body, where there is one.
"""

SLOW_DOWN = (
    b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>SlowDown</Code>'
    b"<Message>Please reduce your request rate.</Message></Error>"
)
# Of one connection, not of the message (RFC 9110, 7.6.1); the client asks for 100-continue anew.
HOP_BY_HOP = {"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "expect"}


class FaultyProxy:
    """Forwards HTTP to ``upstream``; each request meets at most one fault, by chance.

    Attributes:
        url: where it listens.
        counts: how many of each fault were injected, and under ``passed`` how many requests were
            forwarded unharmed.
        rates: chance of each fault; may be changed at any time.
        bytes_sent: of bodies that were passed on whole.
    """

    def __init__(
        self,
        upstream: str,
        rates: dict[str, float],
        seed: int = 0,
        stall_seconds: float = 20.0,
    ):
        if unknown := rates.keys() - set(KINDS):
            raise ValueError(f"no such faults: {', '.join(sorted(unknown))}")
        self.upstream = upstream.rstrip("/")
        self.rates = dict(rates)
        self.stall_seconds = stall_seconds
        self.counts: Counter[str] = Counter(dict.fromkeys((*KINDS, "passed"), 0))
        self.url = ""
        self.bytes_sent = 0
        self._chance = random.Random(seed)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> FaultyProxy:
        self._thread.start()
        self._ready.wait()
        if not self.url:
            raise RuntimeError("the proxy did not start")
        return self

    def __exit__(self, *exc) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        # Nothing is decoded, added or limited on the way.
        session = aiohttp.ClientSession(
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None),
            connector=aiohttp.TCPConnector(limit=0),
        )
        async with session as self._session:
            app = web.Application()
            app.router.add_route("*", "/{path:.*}", self._handle)
            runner = web.AppRunner(app, auto_decompress=False, access_log=None, shutdown_timeout=0)
            await runner.setup()
            try:
                site = web.TCPSite(runner, "127.0.0.1", 0)
                await site.start()
                self.url = "http://{}:{}".format(*runner.addresses[0][:2])
                self._ready.set()
                await self._stop.wait()
            finally:
                await runner.cleanup()

    def _draw(self) -> str:
        chance = self._chance.random()
        for kind, rate in self.rates.items():
            if chance < rate:
                return kind
            chance -= rate
        return "passed"

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        kind = self._draw()
        if kind == "truncate" and request.method == "HEAD":
            kind = "passed"  # there is no body to cut
        if kind == "slow_down":
            self.counts[kind] += 1
            return web.Response(status=503, body=SLOW_DOWN, content_type="application/xml")
        if kind == "reset":
            self.counts[kind] += 1
            return self._hang_up(request)
        if kind == "stall":
            self.counts[kind] += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), self.stall_seconds)
            return self._hang_up(request)
        try:
            return await self._forward(request, kind)
        except aiohttp.ClientError:
            return self._hang_up(request)  # as the server did

    async def _forward(self, request: web.Request, kind: str) -> web.StreamResponse:
        async with self._session.request(
            request.method,
            URL(self.upstream + request.raw_path, encoded=True),
            headers=_end_to_end(request.headers),
            data=request.content if request.body_exists else None,
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
            allow_redirects=False,
        ) as upstream:
            if kind == "lost_reply":
                await upstream.read()
                self.counts[kind] += 1
                return self._hang_up(request)
            reply = web.StreamResponse(status=upstream.status, reason=upstream.reason)
            reply.headers.update(_end_to_end(upstream.headers))
            if kind == "truncate" and (body := await upstream.read()):
                self.counts[kind] += 1
                reply.content_length = len(body)
                await reply.prepare(request)
                await reply.write(body[: len(body) // 2])
                request.transport.close()
                return reply
            self.counts["passed"] += 1
            await reply.prepare(request)
            if request.method != "HEAD":
                async for chunk in upstream.content.iter_chunked(1 << 16):
                    self.bytes_sent += len(chunk)
                    await reply.write(chunk)
            await reply.write_eof()
            return reply

    @staticmethod
    def _hang_up(request: web.Request) -> web.StreamResponse:
        if request.transport is not None:
            # With this, closing sends a reset.
            linger = struct.pack("ii", 1, 0)
            request.transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, linger
            )
            request.transport.abort()
        return web.Response()  # goes nowhere


def _end_to_end(headers: CIMultiDict) -> CIMultiDict:
    return CIMultiDict((k, v) for k, v in headers.items() if k.lower() not in HOP_BY_HOP)
