"""Where a receiver may be."""

from collections.abc import Sequence
from ipaddress import ip_address, ip_network

import pytest

from services.notifier.addresses import (
    Address,
    Addresses,
    ForbiddenAddressError,
    UnusableUrlError,
    read_url,
)


def addresses(*allowed: str, answers: Sequence[str] = ()) -> Addresses:
    async def resolve(_: str, __: int) -> list[Address]:
        return [ip_address(answer) for answer in answers]

    return Addresses([ip_network(network) for network in allowed], resolve)


async def reached(url: str, *allowed: str, answers: Sequence[str] = ()) -> list[str]:
    found = await addresses(*allowed, answers=answers).checked(read_url(url))
    return [str(address) for address in found]


INTERNAL = [
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.170",
    "192.0.2.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:808:808::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd12:3456:789a::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
]

PUBLIC = ["8.8.8.8", "103.21.244.1", "2404:6800:4003::8a", "::ffff:8.8.8.8", "64:ff9b::808:808"]


@pytest.mark.parametrize("address", INTERNAL)
async def test_an_internal_address_is_refused_written_or_resolved(address: str) -> None:
    literal = f"[{address}]" if ":" in address else address
    with pytest.raises(ForbiddenAddressError):
        await reached(f"https://{literal}/hook")
    with pytest.raises(ForbiddenAddressError):
        await reached("https://receiver.example/hook", answers=[address])


@pytest.mark.parametrize("address", PUBLIC)
async def test_a_public_address_is_reached_by_https_alone(address: str) -> None:
    assert await reached("https://receiver.example/hook", answers=[address])
    with pytest.raises(ForbiddenAddressError, match="https://"):
        await reached("http://receiver.example/hook", answers=[address])


async def test_one_internal_answer_among_public_ones_is_enough_to_refuse() -> None:
    with pytest.raises(ForbiddenAddressError):
        await reached("https://receiver.example/", answers=["8.8.8.8", "10.0.0.1", "8.8.4.4"])


async def test_an_operator_may_allow_a_network_and_http_in_it() -> None:
    assert await reached("http://10.0.5.7/", "10.0.5.0/24") == ["10.0.5.7"]
    assert await reached("http://[::ffff:10.0.5.7]/", "10.0.5.0/24")
    assert await reached("http://[fd00::7]/", "10.0.5.0/24", "fd00::/8") == ["fd00::7"]
    with pytest.raises(ForbiddenAddressError):
        await reached("http://10.0.6.7/", "10.0.5.0/24")
    with pytest.raises(ForbiddenAddressError):
        await reached("https://receiver.example/", "10.0.5.0/24", answers=["10.0.5.7", "10.0.6.7"])


@pytest.mark.parametrize(
    "url",
    [
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0x7f.1/",
        "https://0177.0.0.1/",
        "https://127.1/",
        "https://127.0.0.1./",
        "https://127.0.0.01/",
        "https://256.1.1.1/",
        "https://1.2.3.4.5/",
        "https://[::1%25eth0]/",
        "https://[fe80::1%eth0]/",
        "https://[::g]/",
        "https://[::1/",
        "https://kpu@receiver.example/",
        "https://kpu:secret@receiver.example/",
        "https://@receiver.example/",
        "https://receiver.example#@127.0.0.1/",
        "https://receiver.example/#part",
        "https://receiver.example\\@127.0.0.1/",
        "https://receiver.example/a b",
        "https://receiver.example/\n",
        "https://receiver.example/\x00",
        "https://recéiver.example/",
        "https://①②⑦.0.0.1/",
        "https://127。0。0。1/",
        "https://%31%32%37.0.0.1/",
        "https:///hook",
        "https://",
        "https://:443/",
        "https://a..b/",
        "https://-/",
        "https://receiver.example:0/",
        "https://receiver.example:65536/",
        "https://receiver.example:x/",
        "https://receiver.example/" + "x" * 2_000,
        "ftp://receiver.example/",
        "file:///etc/passwd",
        "gopher://127.0.0.1:6379/_FLUSHALL",
        "javascript:alert(1)",
        "receiver.example/hook",
        "//receiver.example/hook",
        "",
    ],
)
def test_a_url_in_a_form_that_others_read_differently_is_refused(url: str) -> None:
    with pytest.raises(UnusableUrlError, match=r"^url "):
        read_url(url)


def test_a_url_is_taken_apart() -> None:
    target = read_url("https://Receiver.example:8443/hook/a?b=c")
    assert (target.scheme, target.host, target.port) == ("https", "receiver.example", 8443)
    assert (target.path, target.authority) == ("/hook/a?b=c", "receiver.example:8443")
    assert read_url("https://receiver.example").path == "/"
    assert read_url("https://[2404:6800::1]/").authority == "[2404:6800::1]"
    assert read_url("https://receiver.example:443/").authority == "receiver.example"
