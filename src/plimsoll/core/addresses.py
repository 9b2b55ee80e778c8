"""Which addresses are one's own: a model that one runs oneself is asked so that nobody else sees the data."""

from ipaddress import IPv4Address, IPv6Address, ip_address

__all__ = ["address_of", "is_own"]


def address_of(host: str) -> IPv4Address | IPv6Address | None:
    """The host, where it is an address and no name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def is_own(address: IPv4Address | IPv6Address) -> bool:
    """Whether it is this machine's, or of a private network; not where anybody's is."""
    mapped = getattr(address, "ipv4_mapped", None) or address
    return bool(mapped.is_loopback or mapped.is_private)
