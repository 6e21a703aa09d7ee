"""Tests of which addresses count as public."""

import pytest

from app.safe_http import SafeHttp

PUBLIC = SafeHttp(())


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "64:ff9b::101:101", "2002:101:101::"]
)
def test_public_addresses(address):
    """Global unicast addresses are public, also inside a NAT64 or 6to4 address."""
    assert PUBLIC.permits_address(address)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0", "10.1.2.3", "100.64.0.1", "100.100.100.200", "127.0.0.1", "168.63.129.16",
        "169.254.169.254", "172.31.0.1", "192.0.0.192", "192.88.99.1", "192.168.1.1", "198.18.0.1",
        "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "::1", "::127.0.0.1",
        "::ffff:127.0.0.1", "::ffff:0:127.0.0.1", "::ffff:0:1.1.1.1", "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1", "2002:7f00:1::", "2001:0:7f00:1::", "2001:db8::1", "5f00::1", "fc00::1",
        "fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1",
    ],
)  # fmt: skip
def test_non_public_addresses(address):
    """Local, shared, reserved, multicast and unassigned addresses are not public, nor inside an IPv6 address."""
    assert not PUBLIC.permits_address(address)
