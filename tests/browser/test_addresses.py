"""Which hosts and addresses are permitted. Rules of `trio_mix.browser._addresses`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_mix.browser._addresses import AddressRules, canonical_host
from trio_mix.errors import ConfigurationError

if TYPE_CHECKING:
    import ipaddress

REFUSED = {
    "an unspecified address": ["0.0.0.9", "0.1.2.3", "::"],
    "a loopback address": ["127.0.0.1", "127.255.0.1", "::1"],
    "a private address": ["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.0.1", "fd00::1"],
    "a link-local address": ["169.254.169.254", "fe80::1", "fe80::1%eth0", "2606:4700::1%eth0"],
    "a carrier-grade NAT address": ["100.64.0.1", "100.100.100.200", "100.127.255.255"],
    "a cloud platform's address": ["168.63.129.16"],
    "a multicast address": ["224.0.0.1", "239.255.255.250", "ff02::1"],
    "a reserved address": ["240.0.0.1", "255.255.255.255", "192.0.0.192", "4000::1", "::5"],
    "an IPv4-mapped address": ["::ffff:127.0.0.1", "::ffff:8.8.8.8"],
    "a NAT64 address": ["64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::1"],
    "a 6to4 address": ["2002:7f00:1::", "192.88.99.1"],
    "a Teredo address": ["2001:0:1::1"],
    "a site-local address": ["fec0::1"],
    "a documentation address": ["192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1"],
    "a benchmarking address": ["198.18.0.1"],
    "not an IP address": ["", "localhost", "127.1", "0x7f000001", "2130706433", "1.1.1.1/8"],
}
PERMITTED = ["1.1.1.1", "8.8.8.8", "172.32.0.1", "100.63.255.255", "11.0.0.1", "2606:4700::1111"]


def test_only_global_unicast_addresses_are_permitted() -> None:
    rules = AddressRules()
    for kind, addresses in REFUSED.items():
        assert {address: rules.refusal(address) for address in addresses} == dict.fromkeys(
            addresses, kind
        )
    assert [rules.refusal(address) for address in PERMITTED] == [None] * len(PERMITTED)


@given(st.ip_addresses())
def test_no_address_is_permitted_that_the_standard_library_calls_local(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    if AddressRules().refusal(str(address)) is None:
        assert address.is_global
        assert not address.is_multicast
        assert not address.is_reserved


def test_a_listed_host_is_compared_by_name_and_port() -> None:
    rules = AddressRules(
        ["localhost:3000", "Intranet.Example.", "192.168.1.5:80", "[::1]:8080", "::2", "bücher.de"]
    )
    for host, port, listed in [
        ("localhost", 3000, True),
        ("LOCALHOST.", 3000, True),
        ("localhost", 3001, False),
        ("127.0.0.1", 3000, False),
        ("evil.localhost", 3000, False),
        ("localhost.evil.com", 3000, False),
        ("intranet.example", 1, True),
        ("192.168.1.5", 80, True),
        ("192.168.1.5", 81, False),
        ("::1", 8080, True),
        ("0:0:0:0:0:0:0:1", 8080, True),
        ("::1", 80, False),
        ("::2", 9, True),
        ("xn--bcher-kva.de", 443, True),
    ]:
        assert rules.lists(host, port) is listed, (host, port)


def test_an_entry_that_is_not_a_host_is_refused() -> None:
    for entry in (
        *("", "http://localhost:3000", "localhost:", "localhost:0", "localhost:65536", "a b"),
        *("localhost/path", "user@localhost", "[::1", "[g::1]:3", "::g:1", "localhost:http", 5),
    ):
        with pytest.raises(ConfigurationError, match="without a scheme"):
            AddressRules([entry])  # type: ignore[list-item]


def test_hosts_are_compared_in_one_form() -> None:
    assert canonical_host("ExAmple.ORG.") == "example.org"
    assert canonical_host("[2001:DB8:0::1]") == "2001:db8::1"
