"""Connections to a receiver are kept open between requests, and none that it has closed is used."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address, ip_network

from services.notifier.addresses import Address
from services.notifier.delivering import Receivers
from services.notifier.posting import Fault, Poster
from tests.support.webhook_receiver import Receiver, answering, cut_off, receiving


async def resolve(host: str, _: int) -> list[Address]:
    return [ip_address(host)]


@asynccontextmanager
async def posting(receiver: Receiver, timeout_s: float = 2.0) -> AsyncIterator[Poster]:
    poster = Receivers([ip_network("127.0.0.0/8")], resolve, timeout_s).poster(receiver.url)
    try:
        yield poster
    finally:
        await poster.close()


async def delivered(poster: Poster, count: int = 1) -> list[bool]:
    outcomes = await asyncio.gather(*(poster.post(b"{}", {}) for _ in range(count)))
    return [outcome.delivered for outcome in outcomes]


async def test_requests_one_after_another_share_a_connection() -> None:
    async with receiving() as receiver, posting(receiver) as poster:
        for _ in range(5):
            assert await delivered(poster) == [True]
        assert receiver.connections == 1


async def test_requests_at_a_time_have_a_connection_each_and_use_them_again() -> None:
    async with receiving() as receiver, posting(receiver) as poster:
        for _ in range(3):
            assert await delivered(poster, 6) == [True] * 6
        assert receiver.connections == 6


async def test_a_connection_that_the_receiver_has_closed_is_not_used_again() -> None:
    async with receiving() as receiver, posting(receiver) as poster:
        assert await delivered(poster, 3) == [True] * 3
        receiver.abort()
        await asyncio.sleep(0.05)
        assert await delivered(poster, 3) == [True] * 3
        assert receiver.connections == 6


async def test_a_connection_that_was_cut_off_in_a_request_is_not_used_again() -> None:
    async with receiving(cut_off) as receiver, posting(receiver) as poster:
        assert await delivered(poster) == [False]
        receiver.behave = answering(200)
        assert await delivered(poster) == [True]
        assert receiver.connections == 2


async def test_a_connection_on_which_an_answer_did_not_come_in_time_is_not_used_again() -> None:
    async def late(_: object, __: object) -> None:
        await asyncio.sleep(1)

    async with receiving(late) as receiver, posting(receiver, timeout_s=0.1) as poster:
        assert (await poster.post(b"{}", {})).fault is Fault.TIMEOUT
        receiver.behave = answering(200)
        assert await delivered(poster) == [True]
        assert receiver.connections == 2
