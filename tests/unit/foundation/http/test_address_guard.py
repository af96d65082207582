"""Which URLs may be called, and which names are looked up."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest

from foundation.http.address_guard import TargetRefused, vet
from tests.cases import cases

PUBLIC = "93.184.216.34"


class Names:
    """A resolver that returns `results` in order, and then the last one again."""

    def __init__(self, *results: Sequence[str]) -> None:
        self.results = list(results)
        self.lookups: list[tuple[str, int]] = []

    def __call__(self, host: str, port: int) -> Sequence[str]:
        self.lookups.append((host, port))
        return self.results.pop(0) if len(self.results) > 1 else self.results[0]


def no_lookup(host: str, port: int) -> Sequence[str]:
    raise AssertionError(f"{host} was looked up")


@cases(
    "url",
    [
        *("example.org", "ftp://example.org/", "http://", "http://[::1/", "http://exämple.org/"),
        *("http://user:password@example.org/", "http://example.org:0/", "http://example.org:99999/"),
        *("http://example.org\\@127.0.0.1/", "http://example.org/\r\nHost: other", "http://example.org/#fragment"),
        # Other forms of internal addresses.
        *("http://2130706433/", "http://0x7f000001/", "http://017700000001/", "http://127.1/", "http://127.0.0.1./"),
        *("http://[::ffff:7f00:1]/", "http://[fe80::1%eth0]/"),
    ],
)
def test_an_invalid_url_is_rejected_before_any_lookup(url: str) -> None:
    with pytest.raises(TargetRefused):
        vet(url, resolve=no_lookup)


# Every block of the IANA special-purpose registries, including nested ones, and multicast and site-local addresses.
SPECIAL = [
    *("0.0.0.0/8", "0.0.0.0/32", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
    *("192.0.0.0/24", "192.0.0.0/29", "192.0.0.8/32", "192.0.0.9/32", "192.0.0.10/32", "192.0.0.170/32"),
    *("192.0.0.171/32", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16"),
    *("192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4", "255.255.255.255/32"),
    "224.0.0.0/4",
    *("::/128", "::1/128", "64:ff9b:1::/48", "100::/64", "100:0:0:1::/64", "2001::/23", "2001::/32", "2001:1::1/128"),
    *("2001:1::2/128", "2001:1::3/128", "2001:2::/48", "2001:3::/32", "2001:4:112::/48", "2001:10::/28"),
    *("2001:20::/28", "2001:30::/28", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20", "5f00::/16"),
    *("fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8", "::/96"),
    # Everything outside of Global Unicast.
    *("::/3", "4000::/2", "8000::/1"),
]
# Packets to these prefixes go to the embedded IPv4 address.
TRANSLATED = ["::ffff:0:0/96", "64:ff9b::/96"]


def answering(*addresses: str) -> Names:
    return Names(addresses)


def test_special_blocks_are_rejected_at_both_edges_and_their_public_neighbours_are_not() -> None:
    blocks = [ip_network(each) for each in SPECIAL]
    for network in blocks:
        for address in (network[0], network[-1]):
            for answer in (answering(str(address)), answering(PUBLIC, str(address))):
                with pytest.raises(TargetRefused):
                    vet("http://example.org/", resolve=answer)
            with pytest.raises(TargetRefused):
                vet(f"http://{f'[{address}]' if network.version == 6 else address}/", resolve=no_lookup)
        for number in (int(network[0]) - 1, int(network[-1]) + 1):
            if 0 <= number < 2**network.max_prefixlen:
                neighbour = type(network[0])(number)
                if not any(each.version == neighbour.version and neighbour in each for each in blocks):
                    assert vet("http://example.org/", resolve=answering(str(neighbour))).addresses == (neighbour,)


def test_an_address_with_a_zone_is_always_refused() -> None:
    for address in ("fe80::1%eth0", "2606:2800:220:1::1%1"):
        with pytest.raises(TargetRefused):
            vet("http://example.org/", allowed=[ip_network("::/0")], resolve=answering(address))


def test_translated_addresses_are_checked_by_the_embedded_address() -> None:
    for form in TRANSLATED:
        outer = int(ip_network(form)[0])
        for inner in (ip_network(block) for block in SPECIAL if ":" not in block):
            for address in (inner[0], inner[-1]):
                with pytest.raises(TargetRefused):
                    vet("http://example.org/", resolve=answering(str(IPv6Address(outer + int(address)))))
        public = str(IPv6Address(outer + int(IPv4Address(PUBLIC))))
        assert vet("http://example.org/", resolve=answering(public)).addresses


@cases("address", ["2002:a01:203::1", "2001:0:5db8:d822::f5fe:fdfc", "::10.1.2.3"])
def test_a_tunnel_address_needs_its_embedded_address_allowed_too(address: str) -> None:
    outer, inner = ip_network(f"{address}/128"), ip_network("10.0.0.0/8")
    for allowed in ([], [outer], [inner]):
        with pytest.raises(TargetRefused):
            vet("http://inner.test/", allowed=allowed, resolve=answering(address))
    assert vet("http://inner.test/", allowed=[outer, inner], resolve=answering(address)).addresses


def test_public_addresses_are_allowed_and_resolved_once() -> None:
    names = Names([PUBLIC, "2606:2800:220:1::1", PUBLIC])
    target = vet("https://Example.ORG:8443/path?query", resolve=names)
    assert names.lookups == [("example.org", 8443)]
    assert (target.host, target.port, target.host_header) == ("example.org", 8443, "example.org:8443")
    assert target.addresses == (ip_address(PUBLIC), ip_address("2606:2800:220:1::1"))
    assert vet(f"http://{PUBLIC}/", resolve=no_lookup).addresses == (IPv4Address(PUBLIC),)


def test_only_addresses_in_allowed_networks_are_accepted() -> None:
    allowed = [ip_network("10.1.0.0/16"), ip_network("fd00::/8")]
    for address in ("10.1.2.3", "::ffff:10.1.2.3", "fd00::1"):
        assert vet("http://inner.test/", allowed=allowed, resolve=Names([address])).addresses
    for address in ("10.2.0.1", "127.0.0.1", "fe80::1", "::1"):
        with pytest.raises(TargetRefused):
            vet("http://inner.test/", allowed=allowed, resolve=Names([address]))
