"""A server on this machine that speaks as much of the Hugging Face Hub's API as reading takes."""

from __future__ import annotations

import hashlib
import http.server
import json
import re
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

REPOSITORY = "org/name"


@contextmanager
def hub(files: Path) -> Iterator[str]:
    """Serves a folder as the dataset, or the model, ``org/name``; gives the endpoint."""

    def entry(path: str) -> dict[str, Any]:
        file = files / path
        if file.is_dir():
            return {"type": "directory", "path": path, "oid": "0" * 40, "size": 0}
        data = file.read_bytes()
        oid = hashlib.sha1(data).hexdigest()
        return {"type": "file", "path": path, "oid": oid, "size": len(data)}

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def reply(self, data: bytes, code: int = 200, **headers: str) -> None:
            self.send_response(code)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def reply_json(self, value: object) -> None:
            self.reply(json.dumps(value).encode(), Content_Type="application/json")

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            is_json = body.startswith("{")
            paths = (json.loads(body) if is_json else urllib.parse.parse_qs(body))["paths"]
            self.reply_json([entry(path) for path in paths if (files / path).exists()])

        def do_GET(self) -> None:
            url = urllib.parse.urlparse(self.path)
            path = urllib.parse.unquote(url.path)
            if tree := re.search("/tree/(main|a{40})", path):
                folder = files / path[tree.end() :].strip("/")
                below = folder.rglob("*") if "recursive=true" in url.query.lower() else None
                found = sorted(below or folder.iterdir())
                self.reply_json([entry(str(file.relative_to(files))) for file in found])
            elif resolve := re.search("/resolve/(main|a{40})/", path):
                self.reply_file(files / path[resolve.end() :])
            elif REPOSITORY not in path:
                self.reply(b"", 404, X_Error_Code="RepoNotFound")
            else:
                there = (file for file in sorted(files.rglob("*")) if file.is_file())
                siblings = [{"rfilename": str(file.relative_to(files))} for file in there]
                told = {"id": REPOSITORY, "sha": "a" * 40, "private": False, "siblings": siblings}
                self.reply_json(told)

        def reply_file(self, file: Path) -> None:
            if not file.is_file():
                self.reply(b"", 404)
                return
            data = file.read_bytes()
            etag = f'"{hashlib.sha1(data).hexdigest()}"'
            wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
            if not wanted:
                self.reply(data, ETag=etag, X_Repo_Commit="a" * 40)
                return
            first, last = wanted.groups()
            start = int(first) if first else len(data) - int(last)
            end = min(int(last) + 1, len(data)) if first and last else len(data)
            self.reply(data[start:end], 206, ETag=etag, X_Repo_Commit="a" * 40)

        do_HEAD = do_GET

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
