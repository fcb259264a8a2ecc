"""No secret of a URI in any text that tells of it, whatever it looks like and whatever fails."""

from __future__ import annotations

import html
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote, unquote

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from manifests import storage
from manifests.build import build
from manifests.check import check
from manifests.errors import ManifestError, StorageError
from manifests.read import read_manifest
from manifests.secrets import redacted, shown, without_secrets
from tests.s3 import forget_clients

MARK = "L3AK"  # begins and ends each piece of each secret: no other text holds it
ODD = "aZ0 é日'\"\\<>&;=+,%[]()~^|`${}*!\t"
SIGNED = (
    "sig",
    "X-Amz-Signature",
    "X-Amz-Security-Token",
    "X-Goog-Signature",
    "se",
    "token",
    "a b",
)


def pieces(separators: str, most: int) -> st.SearchStrategy[str]:
    """Secrets of several pieces, of which a parser may tell one apart from the others."""
    piece = st.text(ODD, max_size=6).map(lambda text: f"{MARK}{text}{MARK}")
    more = st.tuples(st.sampled_from(separators), piece).map("".join)
    whole = st.tuples(piece, st.lists(more, max_size=most).map("".join)).map("".join)
    return st.one_of(whole, whole.map(lambda text: quote(text, safe="")))


users = st.one_of(
    st.just(""),
    st.tuples(pieces(":", 0).map(lambda text: text.replace(":", "")), pieces("/@:", 3)).map(
        lambda pair: f"{pair[0]}:{pair[1]}@"
    ),
    st.tuples(st.just("me"), pieces("/:?#", 2)).map(lambda pair: f"{pair[0]}:{pair[1]}@"),
    pieces("-", 1).map(lambda token: f"{token}@"),
)
pairs = st.tuples(st.sampled_from(SIGNED), pieces("/@=:?-", 2)).map("=".join)
queries = st.one_of(
    st.just(""),
    st.lists(pairs, min_size=1, max_size=3).map(lambda found: "?" + "&".join(found)),
    pieces("?&=", 2).map(lambda text: f"?{text}"),
    st.tuples(pairs, pieces("/", 1)).map(lambda pair: f"?{pair[0]}#{pair[1]}"),
    pieces("/", 1).map(lambda text: f"#{text}"),
)
parameters = st.one_of(
    st.just(""), st.just(";v=1"), st.text("abc", min_size=1).map(lambda name: f";{name}={MARK}")
)
names = st.sampled_from(["it's a.png", "a@2x.png", "é 日.png", "a%20b.png", "a.png", "[x]+(1).png"])


def leaks(text: str) -> bool:
    return MARK.lower() in unquote(unquote(text)).lower()


class Site(BaseHTTPRequestHandler):
    """Answers as the path's first name says; repeats what it was asked in its reason."""

    def do_GET(self) -> None:
        path = self.path.split("?")[0].split("/")
        what = path[1]
        if what == "hangup":
            return
        if what == "redirect":
            location = self.server.targets[int(path[2])]  # type: ignore[attr-defined]
            head = f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
            self.wfile.write(head.encode())
            return
        if what == "short":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbody")
            return
        status = int(what) if what.isdigit() else 404
        reason = "".join(c for c in self.path if c.isprintable() and c.isascii())
        self.wfile.write(f"HTTP/1.1 {status} No: {reason}\r\nContent-Length: 0\r\n\r\n".encode())

    do_HEAD = do_PUT = do_GET

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def site() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        server.targets = []  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        patch = pytest.MonkeyPatch()
        patch.setenv("DIFFPIR_RETRY_SECONDS", "0")
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "none")
        forget_clients()
        yield server
        patch.undo()
        forget_clients()
        server.shutdown()


def texts_about(uri: str) -> Iterator[str]:
    """What reading from there, in several ways, raises."""
    for read in (storage.read_bytes, storage.cached_local, storage.size_of, storage.list_names):
        try:
            read(uri)
        except StorageError as e:
            yield str(e)


ASKED = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@ASKED
@given(
    st.sampled_from(["403", "404", "410", "500", "hangup", "short"]),
    users, names, parameters, queries, st.booleans(),
)  # fmt: skip
@example("500", "", "it's a.png", "", f"?sig={MARK}", False)
@example("403", f"me:{MARK}/{MARK}@", "a.png", "", "", False)
def test_errors_of_a_web_server(site, tmp_path, what, user, name, parameter, query, ipv6):
    host = "[::1]:9" if ipv6 else f"127.0.0.1:{site.server_port}"
    uri = f"http://{user}{host}/{what}/{name}{parameter}{query}"
    assert shown(uri) == f"http://{host}/{what}/{name}"
    for text in texts_about(uri):
        assert not leaks(text), text
        assert shown(uri) in text


@ASKED
@given(
    users,
    names,
    queries,
    queries,
    st.sampled_from(["http:", "ftp:", "htp p:", ""]),
    st.booleans(),
)
@example("", "a.png", "", f"?sig={MARK}'{MARK}", "http:", False)
@example(f"me:{MARK}[{MARK}@", "a.png", "", "", "", False)
@example(f"me:{MARK}?{MARK}@", "a.png", "", f"?{MARK}", "ftp:", False)
def test_errors_of_where_a_web_server_redirects_to(site, user, name, query, target, scheme, dead):
    # A client that cannot connect tells the host alone, which here is a piece of the password.
    assume(not ("/" in user and "@" in user[:-1]))
    port = 9 if dead else site.server_port
    location = f"{scheme}//{user}127.0.0.1:{port}/500/{quote(name)}{target}".replace("\t", "")
    site.targets.append(location)
    uri = f"http://127.0.0.1:{site.server_port}/redirect/{len(site.targets) - 1}/{name}{query}"
    for text in texts_about(uri):
        assert not leaks(text), text
        assert shown(uri) in text


@ASKED
@given(
    st.sampled_from(["s3", "s3a"]), users, st.sampled_from(["403", "404", "500", "hangup", "b b"]),
    names, st.one_of(st.just(""), pairs.map(lambda pair: f"?{pair}")),
)  # fmt: skip
@example("s3", f"AKIA{MARK}:{MARK}@", "500", "key", "")
@example("s3", f"AKIA{MARK}:1/{MARK}@", "500", "key", "")
def test_errors_of_a_bucket(site, scheme, user, bucket, name, query):
    uri = f"{scheme}://{user}{bucket}/{name}{query}"
    assert shown(uri) == f"{scheme}://{bucket}/{name}"
    for text in texts_about(uri):
        assert not leaks(text), text


@settings(deadline=None)
@given(users, names, queries)
@example("L3AKL3AK@", "it's a.png", "?L3AK;(L3AK")
def test_whatever_quotes_a_uri(user, name, query):
    uri = f"https://{user}host.example/{quote(name)}{query}"
    rest = uri.partition("://")[2]
    spellings = [
        rest, repr(rest), ascii(rest), json.dumps(rest), html.escape(rest), quote(rest),
        quote(quote(rest, safe="")), quote(rest, safe="%/:?#@&=+").replace("%20", "+"),
        repr({"url": repr(rest)}), rest.upper(), rest.lower(), unquote(rest),
    ]  # fmt: skip
    for text in spellings:
        told = redacted(f"GET «{text}» failed with 500", [uri])
        assert not leaks(told), (text, told)
        assert told.startswith("GET «") and told.endswith("» failed with 500")
        assert "host.example" in told.lower()


@settings(deadline=None)
@given(st.text(), users, queries)
def test_texts_without_a_secret_are_left_as_they_are(text, user, query):
    uri = f"https://{user}host.example/a.png{query}"
    assert redacted(text, [uri, "/a/b?c=d", text.replace("://", "")]) == text
    assert shown(shown(uri)) == shown(uri)


@pytest.mark.parametrize(
    "uri, text, told",
    [
        ("http://h/x?v=1", "11 of 1 at http://h/x?v=1", "11 of 1 at http://h/x?***"),
        ("http://me:pw@h/x", "me: pw at http://me:pw@h/x", "me: pw at http://***@h/x"),
        ("http://h/data?key=data", "no data at /data?key=data", "no data at /data?***"),
        ("s3://k:abcd@b/x", 'bucket name "k:abcd@b": abcd', 'bucket name "***@b": ***'),
        ("s3://a1:pass/word@b/x", "'a1:pass' port 'word@b'", "'***' port '***@b'"),
        ("/data/a?b=secret", "no /data/a?b=secret", "no /data/a?b=secret"),
        ("simplecache::https://h/x?sig=abcd", "/at/simplecache::https://h/x?sig=abcd",
         "/at/simplecache::https://h/x?***"),
        ("http://p/https://me:abcd@h/x", "https://me:abcd@h/x", "https://***@h/x"),
        ("http://user:pass@h/", "Basic dXNlcjpwYXNz", "Basic ***"),
        ("http://me:p@sécr/x@h/", "no host xn--scr-bma", "no host ***"),
    ],
)  # fmt: skip
def test_what_is_hidden_and_what_is_not(uri, text, told):
    assert redacted(text, [uri]) == told


@pytest.mark.parametrize(
    "uri",
    [
        "http://h:80/a@2x.png", "http://[::1]:80/a@b/c", "s3://bucket/a@b/c:d.png", "gs://b/k#1",
        "abfs://container@account/x", "s3://arn:aws:s3:eu:1:accesspoint/name/a@2x.png",
        "s3://b/what?.png", "hdfs://node:8020/a@b/c", "file:///a@b/c.png", "https://h/a:b@c/d",
    ],
)  # fmt: skip
def test_names_without_secrets_are_shown_whole(uri):
    assert shown(uri) == uri


def test_names_stay_beside_a_password():
    assert shown("http://me:pw@h/img@2x.png") == "http://h/img@2x.png"


def test_plain_values_of_any_depth():
    uri = f"https://me:{MARK}@h/a?sig={MARK}"
    spec = {"a": [uri, {"b": (f"-o {uri}", 3)}], "c": f"key {MARK}", "d": None}
    assert without_secrets(spec) == {
        "a": ["https://h/a", {"b": ["-o https://h/a", 3]}],
        "c": "key ***",
        "d": None,
    }


def test_texts_about_a_manifest(tmp_path, site):
    uri = f"http://me:{MARK}@127.0.0.1:{site.server_port}/500/it's a.png?sig={MARK}"
    files = {
        "extra.csv": f"id,image\na,{uri},x\n",
        "kind.csv": f'id,image,width\na,b,"{uri}"\n',
        "kind.jsonl": json.dumps({"id": "a", "image": "b", "width": uri}),
        "line.jsonl": f'{{"id": "a", "image": "{uri}"\n',
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(ManifestError) as caught:
            read_manifest(str(tmp_path / name))
        assert name in str(caught.value) and not leaks(str(caught.value))
    (tmp_path / "rows.jsonl").write_text(json.dumps({"id": "a", "image": uri}))
    (finding,) = check(str(tmp_path / "rows.jsonl"))
    assert "500" in str(finding) and not leaks(str(finding))
    for read in (read_manifest, build):
        with pytest.raises(ManifestError) as caught:
            read(f"{uri}&name=.csv")
        assert not leaks(str(caught.value))


def test_ids_are_made_without_secrets(tmp_path):
    base = f"https://me:{MARK}@h/set"
    uris = [f"{base}/{name}?sig={MARK}/{k}.x" for k, name in enumerate(["a.png", "b.png", "b.png"])]
    (tmp_path / "list.txt").write_text("\n".join(uris))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("manifests.build._header", lambda uri: (None, None, None))
        table = build(str(tmp_path / "list.txt"))
    assert table["id"].to_pylist() == ["a", "b-1", "b-2"]
    assert table["image"].to_pylist() == uris
