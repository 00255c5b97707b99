"""`python -m tests.bench.replaying [EVENTS …]`: append and replay, beside their floors and peers.

For each size a log is made and counted; then it is replayed by `cacah replay`, folded from the
topic by Kafka Streams, and the rows that came of it are written once more by the floor. The
answers must be the same. `eventsourcing` folds a shorter log: it would take the rest of the day.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Final

import uvloop
from aiokafka import AIOKafkaProducer

from cli.stack import StackError
from services.registry.relay import due
from services.registry.republishing import Tail
from shared.counts import Counts
from shared.elections import PILKADA_2024
from shared.events.records import LogEntry
from shared.topics import PARTITIONS, POPULATION_EVENTS
from tests.bench import appending, peers, projecting_peer, refolds, streams_peer, together
from tests.bench.floors import connection_to
from tests.bench.long_log import entries
from tests.support.parts import Parts, cloned_database, fresh_topics, running_parts
from tests.support.published_log import append

SIZES: Final = (100_000,)
RUNS: Final = 3
APPENDED: Final = 60_000
PEER_APPENDS: Final = 30
PEER_BATCHES: Final = 8
PEER_EVENTS: Final = 10_000
AT_ONCE: Final = 20_000
POLL_S: Final = 0.2
COUNTED_WITHIN_S: Final = 3_600.0
FAILED: Final = 1
CANNOT_RUN: Final = 2


class DifferentAnswerError(Exception):
    """A peer folded the same events to other tallies: nothing that it took can be compared."""


def main() -> int:
    arguments = _arguments()
    try:
        with running_parts() as parts:
            if not arguments.no_append:
                _measure_appending(parts, arguments.runs)
            built = streams_peer.build()
            for events in arguments.events:
                _measure_replay(parts, built, events, arguments.runs)
    except (DifferentAnswerError, refolds.ReplayFailedError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return FAILED
    except StackError as error:
        print(f"bench: {error}", file=sys.stderr)
        return CANNOT_RUN
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.replaying", description="Append and replay beside their peers."
    )
    parser.add_argument("events", nargs="*", type=int, default=list(SIZES), help="sizes of the log")
    parser.add_argument("--runs", type=int, default=RUNS, help=f"runs of each ({RUNS})")
    parser.add_argument("--no-append", action="store_true", help="replay alone")
    return parser.parse_args()


def _measure_appending(parts: Parts, runs: int) -> None:
    queues = appending.batches(APPENDED)
    events = sum(len(batch) for queue in queues for batch in queue)
    ours, both, loop, in_order, at_once = ([] for _ in range(5))
    recorder, whole, singly, singly_both = ([] for _ in range(4))
    for _ in range(runs):
        with cloned_database(parts) as database:
            dsn = parts.dsn(database)
            # On the loop that the service runs on.
            ours.append(uvloop.run(appending.append(parts.url(database), queues)))
            loop.append(uvloop.run(appending.copy_the_same(dsn, events, clients=1)))
            in_order.append(uvloop.run(appending.copy_the_same(dsn, events, in_order=True)))
            at_once.append(uvloop.run(appending.copy_the_same(dsn, events)))
            beside = peers.Peer(parts.dsn(database), row_bytes=600)
            recorder.append(beside.rate(appending.CLIENTS, PEER_APPENDS, appending.BATCH))
        with cloned_database(parts) as database:
            both.append(together.rate(appending.append_in_turn, parts.url(database), queues))
        with cloned_database(parts) as database:
            some = [queue[:PEER_BATCHES] for queue in queues]
            whole.append(peers.take(parts.dsn(database), some))
        with cloned_database(parts) as database:
            ones = [[[body] for batch in queue[:2] for body in batch] for queue in queues]
            singly.append(peers.take(parts.dsn(database), ones))
        with cloned_database(parts) as database:
            peers.take(parts.dsn(database), [[]])
            singly_both.append(together.rate(peers.take_beside, parts.dsn(database), ones))
    print(
        f"append {events:,} events in batches of {appending.BATCH} by {appending.CLIENTS} clients"
    )
    _tell("the registry's appender", ours, "events/s")
    _tell("floor: COPY of the same rows in one loop", loop, "events/s", ours)
    _tell("  the same from all clients, in one order", in_order, "events/s", ours)
    _tell("  the same from all clients at once, in none", at_once, "events/s", ours)
    _tell("eventsourcing's recorder, which decides nothing", recorder, "events/s", ours)
    _tell("eventsourcing with an aggregate for each resident", whole, "events/s", ours)
    _tell("  the same, an event a transaction", singly, "events/s", ours)
    print(f"by {together.PROCESSES} processes")
    _tell("the registry's appender", both, "events/s")
    _tell("floor: COPY of the same rows in one loop", loop, "events/s", both)
    _tell("  the same from all clients, in one order", in_order, "events/s", both)
    _tell("  the same from all clients at once, in none", at_once, "events/s", both)
    _tell("eventsourcing, an event a transaction", singly_both, "events/s", both)


def _measure_replay(parts: Parts, built: Path, events: int, runs: int) -> None:
    with ExitStack() as held:
        database = held.enter_context(cloned_database(parts))
        url, dsn = parts.url(database), parts.dsn(database)
        fresh_topics(parts)
        counting_s = asyncio.run(_fill(parts, url, events))
        print(f"\nreplay {events:,} events; counted by projections in {counting_s:,.0f} s")
        ours, memory, floor, streams, whole = [], [], [], [], []
        for _ in range(runs):
            replayed = asyncio.run(refolds.replay(url))
            ours.append(replayed.seconds)
            memory.append(replayed.memory_mb)
            floor.append(asyncio.run(refolds.write_the_same(url, PILKADA_2024.id)))
            folded = asyncio.run(
                streams_peer.fold(built, parts.kafka_bootstrap, events, PILKADA_2024)
            )
            streams.append(folded.folding_s)
            whole.append(folded.seconds)
            _compare("Kafka Streams", asyncio.run(_tallies(dsn)), folded.tallies)
    _tell("cacah replay, the whole command", ours, "s")
    _tell("  a million events would take", [s / events * 1e6 for s in ours], "s")
    _tell("  memory at most", memory, "MB")
    _tell("floor: the same rows by COPY", floor, "s", ours)
    _tell("Kafka Streams, from its first event", streams, "s", ours)
    _tell("Kafka Streams, from its start", whole, "s", ours)
    _measure_eventsourcing(parts, median(ours) / events)


def _measure_eventsourcing(parts: Parts, ours_s: float) -> None:
    log = list(entries(PEER_EVENTS))
    with cloned_database(parts) as database:
        seconds, _ = projecting_peer.fold(parts.dsn(database), log)
    rate = PEER_EVENTS / seconds
    print(
        f"  eventsourcing's projection runner, {PEER_EVENTS:,} events: {rate:,.0f} events/s;"
        f" replay is {1 / ours_s / rate:.1f} times as fast"
    )


async def _fill(parts: Parts, url: str, events: int) -> float:
    """Log and publish so many events and have them counted; how long the counting took."""
    dsn = url.replace("+asyncpg", "")
    log = entries(events)
    tails = [Tail() for _ in range(PARTITIONS)]
    producer = AIOKafkaProducer(bootstrap_servers=parts.kafka_bootstrap, acks="all", linger_ms=20)
    try:
        await producer.start()
        while some := list(islice(log, AT_ONCE)):
            await append(dsn, some)
            await _publish(producer, some, tails)
    finally:
        await producer.stop()
    began_at = time.monotonic()
    async with (
        refolds.counting(url, parts.kafka_bootstrap),
        connection_to(dsn) as connection,
        asyncio.timeout(COUNTED_WITHIN_S),
    ):
        while not await refolds.counted(connection, events):
            await asyncio.sleep(POLL_S)
        await connection.execute("VACUUM ANALYZE")
        return time.monotonic() - began_at


async def _publish(
    producer: AIOKafkaProducer, some: Sequence[LogEntry], tails: Sequence[Tail]
) -> None:
    sent = [
        await producer.send(POPULATION_EVENTS, record.value, key=record.key, partition=partition)
        for partition, records in enumerate(due(some, tails))
        for record in records
    ]
    await asyncio.gather(*sent)


async def _tallies(dsn: str) -> Mapping[str, Counts]:
    async with connection_to(dsn) as connection:
        return await refolds.tallies(connection, PILKADA_2024.id)


def _compare(peer: str, ours: Mapping[str, Counts], theirs: Mapping[str, Counts]) -> None:
    told = {village: counts for village, counts in theirs.items() if any(counts)}
    if told != ours:
        village = min(v for v in ours.keys() | told.keys() if ours.get(v) != told.get(v))
        raise DifferentAnswerError(
            f"{peer} says of {village} {told.get(village)}, projections {ours.get(village)}"
        )


def _tell(what: str, values: Sequence[float], unit: str, ours: Sequence[float] = ()) -> None:
    numbers = " / ".join(
        f"{value:,.1f}" if value < 100 else f"{value:,.0f}"
        for value in (min(values), median(values), max(values))
    )
    ratio = f"   ours: {median(ours) / median(values):.2f} times this" if ours else ""
    print(f"  {what:<50} {numbers} {unit}{ratio}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
