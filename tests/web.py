"""A web server that answers as the path says, in threads of the test process.

    with WebServer() as web:
        read(f"{web.url}/status/404")
    assert web.asked["/status/404"] == 1

/ok                        200, with the content ``CONTENT``
/status/404                this status
/flaky/2/503/NAME          this status for so many requests of this path, then as /ok
/to?http://host/path       a redirect to there
/loop                      a redirect to itself
/silent                    nothing, until the server ends
/dribble                   the head at once, then a byte every second
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CONTENT = b"content"


class _Answer(BaseHTTPRequestHandler):
    server: WebServer

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        with self.server.lock:
            self.server.asked[path] += 1
            times = self.server.asked[path]
        what, *rest = path.strip("/").split("/")
        if what == "to":
            self._head(302, Location=query)
        elif what == "loop":
            self._head(302, Location="/loop")
        elif what == "status":
            self._head(int(rest[0]))
        elif what == "flaky" and times <= int(rest[0]):
            self._head(int(rest[1]))
        elif what == "silent":
            self.server.over.wait(600)
        elif what == "dribble":
            self._head(200, length=10_000)
            while not self.server.over.wait(1):
                self.wfile.write(b"x")
        else:
            self._head(200, length=len(CONTENT))
            self.wfile.write(CONTENT)

    def _head(self, status: int, length: int = 0, **fields: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(length), **fields}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


class WebServer(ThreadingHTTPServer):
    """Listens when made, at a port of its own.

    Attributes:
        asked: how often each path was asked for.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None):
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.asked: Counter[str] = Counter()
        self.lock, self.over = threading.Lock(), threading.Event()
        super().__init__((host, 0), _Answer)
        if tls:
            # The handshake is for the connection's own thread.
            self.socket = tls.wrap_socket(
                self.socket, server_side=True, do_handshake_on_connect=False
            )
        name = f"[{host}]" if ":" in host else host
        self.url = f"{'https' if tls else 'http'}://{name}:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # clients that hang up

    def __enter__(self) -> WebServer:
        threading.Thread(target=self.serve_forever, args=[0.05], daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.over.set()
        self.shutdown()
        self.server_close()


@contextlib.contextmanager
def dead_port():
    """A port of this machine that refuses connections; nobody else can come to listen there."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]
