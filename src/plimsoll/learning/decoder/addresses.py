"""A server of one's own: its URL, and the addresses to connect to, none of them public."""

import asyncio
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import SplitResult, urlsplit

from plimsoll.core.addresses import address_of, is_own
from plimsoll.core.errors import Misuse

__all__ = ["literal", "own_addresses", "split_url"]

_HINT = "name a server of your own, or allow_remote=True where the data may go there"


def split_url(url: str) -> SplitResult:
    """The parts of a server's URL. Raises `Misuse` for what is none."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  # raises for what is no port
    except ValueError as error:
        raise Misuse(f"{url!r} is no URL: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
        raise Misuse(f"{url!r} is no URL of a server: one is like http://127.0.0.1:8000/v1")
    if parts.username is not None or parts.password is not None:
        raise Misuse("the URL of the server holds a user or a password: give the key as `api_key`")
    return parts


def literal(host: str, *, allow_remote: bool) -> str | None:
    """The host, where it is an address and no name. Raises `Misuse` for a public one that is not allowed."""
    address = address_of(host)
    return None if address is None else str(_checked(host, address, allow_remote))


async def own_addresses(host: str, port: int, *, allow_remote: bool) -> list[str]:
    """The addresses to connect to, one after the other. A name is looked up once: what is checked is what is asked.

    Raises `Misuse` where one is public, and `OSError` where the name is not known.
    """
    if (known := literal(host, allow_remote=allow_remote)) is not None:
        return [known]
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(_checked(host, ip_address(str(each[4][0])), allow_remote)) for each in found))


def _checked(host: str, address: IPv4Address | IPv6Address, allow_remote: bool) -> IPv4Address | IPv6Address:
    if not allow_remote and not is_own(address):
        where = host if host == str(address) else f"{host} ({address})"
        raise Misuse(f"{where} is a public address, and what agents are told may not leave: {_HINT}")
    return address
