"""``diffpir report --live``: the page of a run that is at work, served to this machine."""

from __future__ import annotations

import asyncio
import hmac
import io
import re
import secrets
import threading
from collections.abc import Callable, Collection
from typing import Any

from aiohttp import web

from jobs.progress import progress_of
from jobs.report.cards import Cards
from jobs.report.contents import Contents
from jobs.report.page import render
from jobs.report.previews import Gallery
from manifests.errors import ManifestError
from pipeline.errors import PipelineError

REFRESH_SECONDS = 5.0
NEWEST = 24  # rows that are shown because they came last
FULL = re.compile(r"(?P<shard>\d+)-\d+-(?P<place>\d+)-(?P<key>[\w-]+)\.png")
HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Live:
    """The page of an output, and what has changed since it was asked for.

    Args:
        output: folder or URI of the job, which another machine may write.
        limit: rows that are shown with their pictures.
        allow_code: modules and packages that a benchmark's task may import.
        token: that whoever asks must know.

    Raises:
        PipelineError: no job has that output, or it would import code that is not allowed.
        StorageError: it cannot be read.
    """

    def __init__(self, output: str, limit: int, allow_code: Collection[str], token: str):
        self.contents = Contents(output, limit, allow_code)
        self.gallery = Gallery(limit + NEWEST, lambda name, picture: f"full/{name}")
        self.token = token
        self.version = 0
        self._lock = threading.Lock()  # of the contents; requests and the refresh share them
        self.payload: dict[str, Any] = {}
        self.refresh()

    def refresh(self) -> None:
        """Look at the output once more; what cannot be read now is said on the page."""
        with self._lock:
            try:
                changed = bool(self.contents.scan.refresh())
                progress = _plain_progress(progress_of(self.contents.output))
                if changed or not self.payload:
                    payload = self.contents.payload(self.gallery, NEWEST)
                    payload["sort"] = {"field": "made", "order": "down"}
                else:
                    payload = self.payload
                payload = {**payload, "progress": progress, "trouble": ""}
            except (PipelineError, ManifestError) as e:
                if not self.payload:
                    raise
                payload = {**self.payload, "trouble": str(e)}
            if payload != self.payload:
                self.payload = payload
                self.version += 1

    def full(self, name: str) -> bytes | None:
        """The file of a full picture; None where there is none of that name."""
        match = FULL.fullmatch(name)
        if match is None:
            return None
        with self._lock:
            scan = self.contents.scan
            part = scan.folder.state.latest.get(int(match["shard"]))
            if part is None or int(match["place"]) >= scan.folder.shards[part.shard].rows:
                return None
            cards = Cards(scan.folder, scan.schema, self.contents.allow_code, scan.tallies)
            (card,) = cards.read(part, [int(match["place"])])
        for shown in card.pictures:
            if shown.key == match["key"]:
                buffer = io.BytesIO()
                shown.picture.save(buffer, "PNG", compress_level=1)
                return buffer.getvalue()
        return None

    def app(self) -> web.Application:
        """What answers requests."""
        app = web.Application(middlewares=[self._checked])
        app.router.add_get("/", self._page)
        app.router.add_get("/data.json", self._data)
        app.router.add_get("/full/{name}", self._full)
        app.cleanup_ctx.append(self._refreshing)
        return app

    @web.middleware
    async def _checked(self, request: web.Request, handler) -> web.StreamResponse:
        """Only those who know the token are answered: by the link, and then by a cookie."""
        cookie = f"diffpir-{request.url.port}"
        if given := request.query.get("token"):
            if not hmac.compare_digest(given.encode(), self.token.encode()):
                raise web.HTTPForbidden(text="this link's token is wrong or of an earlier server")
            response = web.HTTPSeeOther(location=request.path, headers=HEADERS)
            response.set_cookie(cookie, self.token, httponly=True, samesite="Strict")
            raise response
        known = request.cookies.get(cookie, "")
        if not hmac.compare_digest(known.encode(), self.token.encode()):
            raise web.HTTPForbidden(text="open the link that diffpir report --live has printed")
        response = await handler(request)
        response.headers.update(HEADERS)
        return response

    async def _page(self, request: web.Request) -> web.Response:
        payload = {**self.payload, "version": self.version}
        page = await asyncio.to_thread(render, payload, live=True)
        return web.Response(text=page, content_type="text/html")

    async def _data(self, request: web.Request) -> web.Response:
        """What the page shows now; nothing where it has that already."""
        if request.query.get("after") == str(self.version):
            return web.Response(status=204)
        return web.json_response({**self.payload, "version": self.version})

    async def _full(self, request: web.Request) -> web.Response:
        data = await asyncio.to_thread(self.full, request.match_info["name"])
        if data is None:
            raise web.HTTPNotFound(text="there is no such picture")
        return web.Response(body=data, content_type="image/png")

    async def _refreshing(self, app: web.Application):
        async def again() -> None:
            while True:
                await asyncio.sleep(REFRESH_SECONDS)
                await asyncio.to_thread(self.refresh)

        task = asyncio.create_task(again())
        yield
        task.cancel()


def serve(
    output: str,
    *,
    limit: int,
    host: str,
    port: int,
    allow_code: Collection[str],
    ready: Callable[[str], None],
) -> None:
    """Serve the page until the process is interrupted.

    Args:
        output, limit, allow_code: as of :class:`Live`.
        host: name or address to listen at; others than loopback can be reached from outside.
        port: to listen at; 0 for any that is free.
        ready: is told the link, token and all.

    Raises:
        PipelineError: as :class:`Live`, or nothing can listen there.
        StorageError: the output cannot be read.
    """
    live = Live(output, limit, allow_code, secrets.token_urlsafe(18))

    async def run() -> None:
        runner = web.AppRunner(live.app(), access_log=None)
        await runner.setup()
        try:
            site = web.TCPSite(runner, host, port)
            try:
                await site.start()
            except OSError as e:
                raise PipelineError(f"nothing can listen at {host}:{port}: {e.strerror}") from None
            bound = runner.addresses[0]
            shown = f"[{host}]" if ":" in host else host
            ready(f"http://{shown}:{bound[1]}/?token={live.token}")
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()

    asyncio.run(run())


def _plain_progress(progress) -> dict[str, Any]:
    disks = {d["host"]: d["free_disk"] for d in progress.drivers if d["free_disk"] is not None}
    return {
        "state": progress.state,
        "rows": progress.rows,
        "done": progress.done,
        "failed": progress.failed,
        "rate": progress.images_per_second,
        "left": progress.seconds_left,
        "disks": [[host, free / 2**30] for host, free in disks.items()],
    }
