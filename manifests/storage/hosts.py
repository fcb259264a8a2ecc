"""Which hosts a file of an untrusted manifest may be fetched from.

Public addresses may always be connected to. Private, loopback, link-local and other addresses that
are not public need an entry in the list of allowed hosts: a name, ``*.name`` for all names below
it, an address, or a network such as ``10.0.0.0/8``.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass

from manifests.uris import plain_host

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAME = re.compile(r"(\*\.)?[\w-]+(\.[\w-]+)*")
_NUMBER = re.compile(r"(.*\.)?(\d+|0x[0-9a-f]*)")  # the end of an address, not of a name
# Networks whose addresses end in an IPv4 address: RFC 4291, 2.5.5.1, and RFC 6052, 2.1.
_EMBEDDING = (ipaddress.IPv6Network("::/96"), ipaddress.IPv6Network("64:ff9b::/96"))
_LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")  # RFC 8215


class HostNotAllowedError(Exception):
    """A host has no address that may be connected to."""

    def __init__(self, host: str, addresses: Iterable[str], allowed_hosts: tuple[str, ...]):
        shown = ", ".join(allowed_hosts[:5]) + (", ..." if len(allowed_hosts) > 5 else "")
        super().__init__(
            f"the host {host} has the address {', '.join(addresses)}, which is not public, and "
            f"neither is among the job's allowed_hosts ({shown or 'none'})"
        )


def is_entry(text: str) -> bool:
    """Whether a text can stand in a list of allowed hosts."""
    is_name = _NAME.fullmatch(text) and not _NUMBER.fullmatch(text)
    return bool(is_name) or _network(text) is not None


def checked_entry(entry: str) -> str:
    """An entry of a list of allowed hosts, spelled as :func:`manifests.uris.plain_host` does.

    Raises:
        ValueError: it is none.
    """
    plain = plain_host(entry)
    if not is_entry(plain):
        raise ValueError(
            "expected a host name (*.example.org for all names below it), an address, or a "
            "network such as 10.0.0.0/8"
        )
    return plain


@dataclass(frozen=True)
class AllowedHosts:
    """A list of allowed hosts, made ready for look-ups.

    Attributes:
        names: of hosts.
        endings: ``.example.org`` for each ``*.example.org``.
        networks: addresses are networks of one.
    """

    names: frozenset[str]
    endings: tuple[str, ...]
    networks: tuple[Network, ...]

    @classmethod
    def of(cls, entries: Iterable[str]) -> AllowedHosts:
        networks = {entry: _network(entry) for entry in map(plain_host, entries)}
        names = [entry for entry, network in networks.items() if network is None]
        return cls(
            frozenset(names),
            tuple(name[1:] for name in names if name.startswith("*.")),
            tuple(network for network in networks.values() if network is not None),
        )

    def allow(self, host: str, address: str) -> bool:
        """Whether a host, which the URL names so, may be connected to at an address."""
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            return False
        if _is_public(found):
            return True
        name = plain_host(host)
        if name in self.names or name.endswith(self.endings):
            return True
        mapped = getattr(found, "ipv4_mapped", None)
        return any(a in network for a in (found, mapped) if a for network in self.networks)


def _network(text: str) -> Network | None:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        return None


def _is_public(address: Address) -> bool:
    if not address.is_global or address.is_multicast:
        return False
    if isinstance(address, ipaddress.IPv4Address):
        return True
    inner = address.ipv4_mapped or address.sixtofour
    if inner is None and any(address in network for network in _EMBEDDING):
        inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address not in _LOCAL_NAT64 and (inner is None or _is_public(inner))
