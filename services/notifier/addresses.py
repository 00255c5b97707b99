"""Where a webhook's receiver may be: outside of the office's own network, unless allowed.

A name is resolved once for each connection, every answer is checked, and the connection goes to
an address that was checked: a DNS that changes its answer in between changes nothing.
"""

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
)
from typing import Final
from urllib.parse import SplitResult, urlsplit

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Resolve = Callable[[str, int], Awaitable[Sequence[Address]]]

LONGEST_URL: Final = 2_000
DEFAULT_PORTS: Final = {"http": 80, "https": 443}
ALLOW_SETTING: Final = "CACAH_WEBHOOK_ALLOWED_NETWORKS"

# Names that never answer keep their thread for half a minute; others must find one meanwhile.
RESOLVER_THREADS: Final = 32

_HOST_NAME: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9])?\.?", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*", re.ASCII)
_PRINTABLE: Final = re.compile(r"[\x21-\x7e]+", re.ASCII)

# Translators lead these to the IPv4 address in their last 32 bits.
_NAT64: Final = IPv6Network("64:ff9b::/96")

# What the ipaddress module of some Python versions takes for global. Everything outside of
# 2000::/3 is refused anyway; 6to4, Teredo and the like carry IPv4 addresses inside.
_GLOBAL_V6: Final = IPv6Network("2000::/3")
_NOT_GLOBAL: Final[tuple[Network, ...]] = (
    IPv4Network("0.0.0.0/8"),
    IPv4Network("10.0.0.0/8"),
    IPv4Network("100.64.0.0/10"),
    IPv4Network("127.0.0.0/8"),
    IPv4Network("169.254.0.0/16"),
    IPv4Network("172.16.0.0/12"),
    IPv4Network("192.0.0.0/24"),
    IPv4Network("192.0.2.0/24"),
    IPv4Network("192.31.196.0/24"),
    IPv4Network("192.52.193.0/24"),
    IPv4Network("192.88.99.0/24"),
    IPv4Network("192.168.0.0/16"),
    IPv4Network("192.175.48.0/24"),
    IPv4Network("198.18.0.0/15"),
    IPv4Network("198.51.100.0/24"),
    IPv4Network("203.0.113.0/24"),
    IPv4Network("224.0.0.0/3"),
    IPv6Network("2001::/23"),
    IPv6Network("2001:db8::/32"),
    IPv6Network("2002::/16"),
    IPv6Network("2620:4f:8000::/48"),
    IPv6Network("3fff::/20"),
)


class UnusableUrlError(ValueError):
    """The URL cannot be a receiver's; the message says why and what to do."""


class ForbiddenAddressError(Exception):
    """The receiver's address lies where none may be."""


@dataclass(frozen=True, slots=True)
class Target:
    """A receiver's URL, taken apart."""

    url: str
    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """The `Host` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


def read_url(written: str) -> Target:
    """A receiver's URL. Raises UnusableUrlError."""
    if not _PRINTABLE.fullmatch(written) or len(written) > LONGEST_URL or "\\" in written:
        raise UnusableUrlError(
            f"url must be at most {LONGEST_URL} printable ASCII characters without spaces"
        )
    try:
        parts = urlsplit(written)
        port = parts.port
    except ValueError:
        raise UnusableUrlError("url cannot be read; send one such as https://host/path") from None
    if parts.scheme not in DEFAULT_PORTS:
        raise UnusableUrlError("url must begin with https://")
    if "@" in parts.netloc:
        raise UnusableUrlError("url must not hold a user name or password")
    if parts.fragment or "#" in written:
        raise UnusableUrlError("url must not have a fragment (#…)")
    if port == 0:
        raise UnusableUrlError("url must name a port from 1 to 65535, or none")
    return Target(
        written, parts.scheme, _host(parts), port or DEFAULT_PORTS[parts.scheme], _path(parts)
    )


def _path(parts: SplitResult) -> str:
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _host(parts: SplitResult) -> str:
    host = parts.hostname or ""
    if parts.netloc.startswith("["):
        return _literal(host)
    if not _HOST_NAME.fullmatch(host) or ".." in host:
        raise UnusableUrlError(
            "url must name a host in ASCII letters, digits, points and hyphens (others as xn--…)"
        )
    # Resolvers read 2130706433, 0x7f.1 and 0177.0.0.1 as addresses too.
    if _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
        return _literal(host)
    return host


def _literal(host: str) -> str:
    try:
        address = ip_address(host)
    except ValueError:
        address = None
    if address is None or "%" in host:
        raise UnusableUrlError(
            "url must write a numeric host as a plain address, such as 203.0.113.7 or [2001:db8::7]"
        )
    return str(address)


class Addresses:
    """Which addresses a receiver may have; `allowed` are networks that an operator named."""

    def __init__(self, allowed: Iterable[Network], resolve: Resolve) -> None:
        self._allowed = tuple(allowed)
        self._resolve = resolve

    async def checked(self, target: Target) -> list[Address]:
        """The addresses to connect to. Raises ForbiddenAddressError if even one answer lies where
        no receiver may be, and OSError where the name cannot be resolved."""
        found = list(await self._addresses_of(target))
        if not found:
            raise OSError("the name has no address")
        for address in found:
            self._check(address, target.scheme)
        return found

    async def _addresses_of(self, target: Target) -> Sequence[Address]:
        try:
            return [ip_address(target.host)]
        except ValueError:
            return await self._resolve(target.host, target.port)

    def _check(self, address: Address, scheme: str) -> None:
        meant = meant_by(address)
        if any(meant.version == network.version and meant in network for network in self._allowed):
            return
        if not is_global(meant):
            raise ForbiddenAddressError(
                "url leads into a network that is not public; an operator can allow it by"
                f" {ALLOW_SETTING}"
            )
        if scheme != "https":
            raise ForbiddenAddressError(
                "url must begin with https://; http:// is for networks that an operator allowed by"
                f" {ALLOW_SETTING}"
            )


def meant_by(address: Address) -> Address:
    """The address that a packet ends up at: the IPv4 one inside of a mapped or translated."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def is_global(address: Address) -> bool:
    """Whether the address is a public one of one host."""
    if isinstance(address, IPv6Address) and address not in _GLOBAL_V6:
        return False
    return not any(
        address.version == network.version and address in network for network in _NOT_GLOBAL
    )


class Resolver:
    """The system's resolver in threads of its own, so that a name that hangs holds up nobody."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(RESOLVER_THREADS, thread_name_prefix="resolver")

    async def __call__(self, host: str, port: int) -> Sequence[Address]:
        found = await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        )
        # A scope (fe80::1%eth0) is cut off: link-local addresses are refused in any case.
        texts = dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found)
        return [ip_address(text) for text in texts]

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
