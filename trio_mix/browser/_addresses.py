"""Which hosts and IP addresses the browser may connect to.

Rules that the tests cite:

1. An address is permitted only if it is global unicast. Loopback, private, link-local, multicast
   and unspecified addresses are refused, and so are those that embed another address (IPv4-mapped,
   NAT64, 6to4, Teredo).
2. A host that the user listed is permitted whatever its addresses are. It is compared by name: a
   listed name permits neither its addresses nor other names for them.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Final, TypeAlias, final

import attrs

from trio_mix.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

_Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_REFUSED: Final[dict[_Network, str]] = {
    ipaddress.ip_network(network): kind
    for network, kind in (
        ("0.0.0.0/8", "an unspecified address"),
        ("10.0.0.0/8", "a private address"),
        ("100.64.0.0/10", "a carrier-grade NAT address"),
        ("127.0.0.0/8", "a loopback address"),
        ("168.63.129.16/32", "a cloud platform's address"),
        ("169.254.0.0/16", "a link-local address"),
        ("172.16.0.0/12", "a private address"),
        ("192.0.0.0/24", "a reserved address"),
        ("192.0.2.0/24", "a documentation address"),
        ("192.88.99.0/24", "a 6to4 address"),
        ("192.168.0.0/16", "a private address"),
        ("198.18.0.0/15", "a benchmarking address"),
        ("198.51.100.0/24", "a documentation address"),
        ("203.0.113.0/24", "a documentation address"),
        ("224.0.0.0/4", "a multicast address"),
        ("240.0.0.0/4", "a reserved address"),
        ("::/128", "an unspecified address"),
        ("::1/128", "a loopback address"),
        ("::ffff:0:0/96", "an IPv4-mapped address"),
        ("64:ff9b::/96", "a NAT64 address"),
        ("64:ff9b:1::/48", "a NAT64 address"),
        ("2001::/32", "a Teredo address"),
        ("2001::/23", "a reserved address"),
        ("2001:db8::/32", "a documentation address"),
        ("2002::/16", "a 6to4 address"),
        ("3fff::/20", "a documentation address"),
        ("fc00::/7", "a private address"),
        ("fe80::/10", "a link-local address"),
        ("fec0::/10", "a site-local address"),
        ("ff00::/8", "a multicast address"),
    )
}
_GLOBAL_V6: Final = ipaddress.IPv6Network("2000::/3")
_ENTRY: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:/@\s]+)(?::(?P<port>[0-9]{1,5}))?")
_MAX_PORT: Final = 65535


def canonical_host(host: str) -> str:
    """Return a host in the form in which hosts are compared."""
    host = host.removeprefix("[").removesuffix("]").lower().removesuffix(".")
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return host.encode("idna").decode("ascii")
    except UnicodeError:
        return host


@attrs.frozen
class _ListedHost:
    host: str
    port: int | None

    @classmethod
    def parse(cls, entry: object) -> _ListedHost:
        match = _ENTRY.fullmatch(entry) if isinstance(entry, str) else None
        text = entry if isinstance(entry, str) and entry.count(":") > 1 else None
        if match is None and text is not None:
            try:
                return cls(str(ipaddress.IPv6Address(text)), None)
            except ValueError:
                pass
        if match is None or not 0 < int(match["port"] or 1) <= _MAX_PORT:
            raise ConfigurationError(
                f"Policy(allow=…): {entry!r} is not a host. Write 'localhost:3000', 'localhost',"
                " '192.168.1.5:80' or '[::1]:3000', without a scheme and a path."
            )
        return cls(canonical_host(match["host"]), int(match["port"]) if match["port"] else None)


@final
class AddressRules:
    """Decides about hosts by the list of the user, and about IP addresses.

    Args:
      allow: the listed hosts, as ``host``, ``host:port``, ``[IPv6]`` or ``[IPv6]:port``.

    Raises:
      ConfigurationError: an entry is not a host.
    """

    def __init__(self, allow: Iterable[str] = ()) -> None:
        self._listed = frozenset(_ListedHost.parse(entry) for entry in allow)

    def lists(self, host: str, port: int) -> bool:
        """Return whether the user listed a host for a port (rule 2)."""
        name = canonical_host(host)
        return _ListedHost(name, port) in self._listed or _ListedHost(name, None) in self._listed

    def refusal(self, address: str) -> str | None:
        """Return the kind of an address that is refused, or None if it is permitted (rule 1)."""
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return "not an IP address"
        if isinstance(ip, ipaddress.IPv6Address) and ip.scope_id is not None:
            return "a link-local address"
        for network, kind in _REFUSED.items():
            if ip in network:
                return kind
        if isinstance(ip, ipaddress.IPv6Address) and ip not in _GLOBAL_V6:
            return "a reserved address"
        return None
