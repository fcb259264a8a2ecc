"""What is secret in URIs, and texts without it.

Secret are user and password, what ``http`` and ``https`` have after the path or assign in it
(``;id=...``), and what other URIs assign after a question mark (``?versionId=...``). The URIs at
hand are taken apart, and their secrets looked for in a text in every spelling: percent-encoded or
not, as Python, JSON and HTML quote them, in capitals or not.

On their own, 1 to 3 characters are part of any word: of secrets so short only the whole is hidden
that a URI has them in (``?v=1``, ``me:pw@``). Nor is hidden what the same URIs say openly: a bucket
that is called as its user.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple
from urllib.parse import unquote

from manifests.uris import SCHEME, scheme_of

HIDDEN = "***"
_SHORTEST = 4  # characters of what is hidden wherever it stands
_BUCKETS = ("s3", "gs")  # what their URIs name has no port
_CONTAINERS = ("az", "wasb", "wasbs")  # CONTAINER@ACCOUNT: no user
_WITHOUT_USER = re.compile(r"(\[[^]@]*\]|[^:@]*)(:\d*)?")  # a host, and its port
_SPELLED = re.compile(
    r"(?:%[0-9A-Fa-f]{2})+|(?:\\x[0-9A-Fa-f]{2})+|(?:\\u[0-9A-Fa-f]{4})+|\\U000[0-9A-Fa-f]{5}"
    r"|\\[\\'\"/nrt]|&(?:amp|lt|gt|quot|apos|#\d{1,6}|#[xX][0-9A-Fa-f]{1,5});"
)


def shown(uri: str) -> str:
    """A URI fit for messages: without its secrets, and without what marks them."""
    parts = _parts(uri)
    return parts.before + parts.place if parts else uri


def redacted(text: str, uris: Iterable[str]) -> str:
    """A text with the secrets of these URIs hidden, however it spells them.

    Args:
        text: any.
        uris: those at hand, as they were given. Local paths, and other texts, have no secrets.
    """
    taken_apart = [parts for parts in map(_parts, uris) if parts]
    if not text or not any(parts.has_secrets for parts in taken_apart):
        return text
    open_ = [_decoded(parts.before + parts.place)[0] for parts in taken_apart]
    plain, places = _decoded(text)
    hidden = bytearray(len(text))
    for mark, secret, end_mark in {found for parts in taken_apart for found in _secrets(parts)}:
        wanted = _decoded(secret)[0]
        if not (mark or end_mark) and (
            len(wanted) < _SHORTEST or any(wanted in said for said in open_)
        ):
            continue
        marked = mark + wanted + end_mark
        at = plain.find(marked) if wanted else -1
        while at >= 0:
            start, end = places[at + len(mark)], places[at + len(mark) + len(wanted)]
            hidden[start:end] = b"x" * (end - start)
            at = plain.find(marked, at + 1)
    kept, last = [], 0
    for found in re.finditer(b"x+", hidden):
        kept.append(text[last : found.start()])
        last = found.end()
    return HIDDEN.join([*kept, text[last:]])


def texts_of(value: Any) -> Iterator[str]:
    """All texts in plain values of any depth."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list | tuple):
        for inner in (*value, *value.values()) if isinstance(value, dict) else value:
            yield from texts_of(inner)


def without_secrets(value: Any) -> Any:
    """Plain values of any depth: URIs as :func:`shown`, other texts :func:`redacted` by them."""
    uris = list(texts_of(value))

    def clean(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: clean(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [clean(inner) for inner in value]
        return redacted(shown(value), uris) if isinstance(value, str) else value

    return clean(value)


class _Parts(NamedTuple):
    """A URI, taken apart.

    Attributes:
        before: the scheme and its slashes, and what stands before.
        users: with their passwords: its own, and those of URIs in its path.
        place: host or bucket, and path.
        assigned: query, fragment and the like, each with the mark that begins it.
    """

    before: str
    users: tuple[str, ...]
    place: str
    assigned: tuple[str, ...]

    @property
    def has_secrets(self) -> bool:
        return bool(self.users or self.assigned)


def _parts(uri: str) -> _Parts | None:
    """None: there is no URI in it."""
    found = SCHEME.search(uri)
    if not found:
        return None
    scheme, rest = scheme_of(found[0]), uri[found.end() :]
    end = _end_of_user(scheme, rest)
    users, rest = [rest[:end]] if end >= 0 else [], rest[end + 1 :]
    web = scheme in ("http", "https")
    # "?" and "#" may be part of an object's name; what assigns something may be a secret.
    query = re.search(r"[?#].*" if web else r"\?[^?]*=.*", rest, re.S)
    place = rest[: query.start()] if query else rest
    assigned = [query[0]] if query else []
    if web:
        assigned += re.findall(r";[^/;=]*=[^/;]*", place)
        place = re.sub(r";[^/;=]*=[^/;]*", "", place)
    if inner := _parts(place):
        users += inner.users
        place = inner.before + inner.place
        assigned += inner.assigned
    return _Parts(uri[: found.end()], tuple(users), place, tuple(assigned))


def _end_of_user(scheme: str, rest: str) -> int:
    """Where the "@" stands that ends user and password; -1 where there are none.

    Raw passwords may hold any of ``/?#@``, of which a parser knows nothing.
    """
    host = re.split("[/?#]", rest, maxsplit=1)[0]
    if "@" in host and ":" not in host.rpartition("@")[0]:
        return -1 if scheme in _CONTAINERS else host.rfind("@")
    port = scheme not in _BUCKETS
    if ":" not in host or host.startswith("arn:") or (port and _WITHOUT_USER.fullmatch(host)):
        return -1
    # There is a password. A path may hold "@" too, mostly in the name of the file (a@2x.png).
    before, at, after = rest.partition("@")
    place = at + re.split("[?#]", after, maxsplit=1)[0]
    end = place.rfind("@", 0, max(0, place.rfind("/")))
    return len(before) + (end if end >= 0 else place.rfind("@")) if at else -1


def _secrets(parts: _Parts) -> Iterator[tuple[str, str, str]]:
    """Each with the marks that it must stand between, if any."""
    for text in parts.assigned:
        for end in (len(text), *(m.start() for m in re.finditer("#", text))):
            yield text[0], text[1:end], ""
        for pair in re.split("[?#&;]", text[1:]):
            yield "", pair, ""
            yield "", pair.partition("=")[2], ""
    for user in filter(None, parts.users):
        yield "" if ":" in user else "/", user, "@"
        user = unquote(user)
        yield "", base64.b64encode(user.encode(errors="replace")).decode(), ""
        # Parsers that took some of it for a host, a port or a path tell of that.
        marks = [(-1, 0), *(m.span() for m in re.finditer("[:@/?#]", user)), (len(user), -1)]
        for i, (_, start) in enumerate(marks[:-1]):
            for end, _ in marks[i + 1 :]:
                yield "", user[start:end], ""
            yield "", _as_host(user[start : marks[i + 1][0]]), ""


def _as_host(name: str) -> str:
    """As DNS spells it."""
    try:
        return name.encode("idna").decode()
    except UnicodeError:
        return name


def _decoded(text: str) -> tuple[str, list[int]]:
    """A text in the one spelling that texts are compared in.

    Returns:
        It, and for each of its characters, and its end, where that begins in ``text``.
    """
    places = list(range(len(text) + 1))
    while found := list(_SPELLED.finditer(text)):
        plain, where, last = [], [], 0
        for spelled in found:
            plain.append(text[last : spelled.start()])
            where += places[last : spelled.start()]
            for character, offset in _characters(spelled[0]):
                plain.append(character)
                where.append(places[spelled.start() + offset])
            last = spelled.end()
        text, places = "".join([*plain, text[last:]]), where + places[last:]
    kept = [i for i, character in enumerate(text) if character not in "\t\r\n"]  # parsers drop them
    plain = [_folded(text[i]) for i in kept]
    return "".join(plain), [*(places[i] for i in kept), places[-1]]


def _folded(character: str) -> str:
    lower = character.lower()
    return " " if character == "+" else lower if len(lower) == 1 else character


def _characters(spelled: str) -> Iterator[tuple[str, int]]:
    """The characters of what ``_SPELLED`` found, and where in it each begins."""
    if spelled[0] == "%" or spelled[:2] == "\\x":
        unit = 3 if spelled[0] == "%" else 4
        data, at = bytes.fromhex(re.sub(r"%|\\x", "", spelled)), 0
        while at < len(data):
            character, size = _first(data[at : at + 4])
            yield character, at * unit
            at += size
    elif spelled[:2] == "\\u":
        units = bytes.fromhex(spelled.replace("\\u", ""))
        at = 0
        for character in units.decode("utf-16-be", "surrogatepass"):
            yield character, at * 6
            at += 2 if ord(character) > 0xFFFF else 1
    elif spelled[:2] == "\\U":
        yield chr(min(int(spelled[2:], 16), 0x10FFFF)), 0
    elif spelled[0] == "\\":
        yield {"n": "\n", "r": "\r", "t": "\t"}.get(spelled[1], spelled[1]), 0
    else:
        for character in html.unescape(spelled):
            yield character, 0


def _first(data: bytes) -> tuple[str, int]:
    """The first character of UTF-8, and its bytes; of what is none, the first byte's."""
    for size in range(1, len(data) + 1):
        try:
            return data[:size].decode(), size
        except UnicodeDecodeError:
            continue
    return chr(data[0]), 1
