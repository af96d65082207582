"""Addresses outside of the public unicast Internet, from the IANA registries. Pure.

`ipaddress.is_global` is not used because it differs between versions of Python.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

# IANA IPv4 Special-Purpose Address Registry, and multicast.
_IPV4 = (
    "0.0.0.0/8",  # "This network"
    "10.0.0.0/8",  # Private-Use
    "100.64.0.0/10",  # Shared Address Space
    "127.0.0.0/8",  # Loopback
    "169.254.0.0/16",  # Link Local
    "172.16.0.0/12",  # Private-Use
    "192.0.0.0/24",  # IETF Protocol Assignments
    "192.0.2.0/24",  # Documentation (TEST-NET-1)
    "192.31.196.0/24",  # AS112-v4
    "192.52.193.0/24",  # AMT
    "192.88.99.0/24",  # Deprecated (6to4 Relay Anycast)
    "192.168.0.0/16",  # Private-Use
    "192.175.48.0/24",  # Direct Delegation AS112 Service
    "198.18.0.0/15",  # Benchmarking
    "198.51.100.0/24",  # Documentation (TEST-NET-2)
    "203.0.113.0/24",  # Documentation (TEST-NET-3)
    "224.0.0.0/4",  # Multicast
    "240.0.0.0/4",  # Reserved, and Limited Broadcast
)
# IANA IPv6 Special-Purpose Address Registry, and all blocks outside of Global Unicast (2000::/3). These contain the
# unspecified and the loopback address, IPv4-compatible and IPv4-mapped addresses, NAT64 (64:ff9b::/96,
# 64:ff9b:1::/48), Discard-Only (100::/64), the Dummy Prefix (100:0:0:1::/64), SRv6 SIDs (5f00::/16), Unique-Local
# (fc00::/7), Link-Local (fe80::/10), Site-Local (fec0::/10) and Multicast (ff00::/8).
_IPV6 = (
    "::/3",
    "2001::/23",  # IETF Protocol Assignments: Teredo, Benchmarking, AMT, AS112-v6, ORCHID, Drone Remote ID
    "2001:db8::/32",  # Documentation
    "2002::/16",  # 6to4
    "2620:4f:8000::/48",  # Direct Delegation AS112 Service
    "3fff::/20",  # Documentation
    "4000::/2",
    "8000::/1",
)
_BLOCKS_4 = tuple(IPv4Network(block) for block in _IPV4)
_BLOCKS_6 = tuple(IPv6Network(block) for block in _IPV6)


def is_special(address: IPv4Address | IPv6Address) -> bool:
    """Return True unless the address is a unicast address of the public Internet."""
    if isinstance(address, IPv4Address):
        return any(address in block for block in _BLOCKS_4)
    return any(address in block for block in _BLOCKS_6)
