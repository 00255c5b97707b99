"""Show 5 of KPU's feed: a regency's list with 20 planted differences, found, explained, mended.

`python -m tests.bench.compare [--residents N]`: N residents are told by the notifier's own feed
code; then 20 of them change in every way that there is, beside some who change and come back. The
list of before is uploaded to a running notifier. Ends with 1 unless exactly the planted differences
are found, each with the change that made it, in under 5 seconds (the median of three; of more
residents than that, in any time); and unless applying the supplement to the old list
gives the new one, in which nothing differs.
"""

import argparse
import asyncio
import hashlib
import io
import os
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from statistics import median
from typing import Any, Final, NamedTuple
from uuid import UUID

import httpx

from services.notifier.domain.supplements import Entry, Misfit, apply
from services.notifier.domain.voters import VoterRecord
from services.notifier.workbook_writing import WorkbookWriter
from shared.regions import villages_in
from tests.support.notifier_process import ELECTION, NotifierProcess, running
from tests.support.parts import Parts, cloned_database, fresh_topics, running_parts
from tests.support.told_voters import notifier_database, persons_csv, says, tell_voters

RESIDENTS: Final = 268_951
MOST_S: Final = 5.0
RUNS: Final = 3
SEED: Final = 5
PROBE_EVERY_S: Final = 0.02

VILLAGES: Final = [village.code for village in villages_in("15.01")]

Voters = dict[UUID, str]


class Planted(NamedTuple):
    """A difference that must be found, by the type of the event that made it; None where the feed
    never told of the person."""

    difference: str
    reason: str | None


@dataclass(slots=True)
class Town:
    """Everybody, what the list says of them, and what is told after it was made."""

    chance: random.Random
    voters: Voters
    position: int
    records: list[VoterRecord] = field(default_factory=list)
    planted: dict[UUID, Planted] = field(default_factory=dict)

    def tell(self, who: UUID, to: str | None, reason: str) -> None:
        self.position += 1
        name = reason if reason == "election.changed" else f"id.dukcapil.{reason}"
        self.records.append(says(who, to, name, self.position, "dpt"))
        if to is None:
            self.voters.pop(who, None)
        else:
            self.voters[who] = to

    def somebody(self) -> UUID:
        """A listed voter of whom nothing was planted yet."""
        while (who := self.chance.choice(list(self.voters))) in self.planted:
            pass
        return who

    def newcomer(self) -> UUID:
        return UUID(int=self.chance.getrandbits(128))

    def elsewhere(self, than: str) -> str:
        return self.chance.choice([village for village in VILLAGES if village != than])


def plant(town: Town, listed: Voters) -> None:
    """Twenty differences of every kind, and those who change and come back."""
    came = ("resident.registered", "resident.married", "rights.restored", "biodata.corrected")
    for reason in (*came, "service.changed", "resident.relocated", "event.retracted"):
        who = town.newcomer()
        town.tell(who, town.chance.choice(VILLAGES), reason)
        town.planted[who] = Planted("missing", f"id.dukcapil.{reason}")
    left = ("resident.died", "resident.relocated", "service.changed", "rights.revoked")
    for reason in (*left, "biodata.corrected", "event.retracted"):
        who = town.somebody()
        town.tell(who, None, reason)
        town.planted[who] = Planted("superfluous", f"id.dukcapil.{reason}")
    for reason in ("resident.relocated", "event.retracted", "election.changed"):
        who = town.somebody()
        town.tell(who, town.elsewhere(town.voters[who]), reason)
        full = reason if reason == "election.changed" else f"id.dukcapil.{reason}"
        town.planted[who] = Planted("in-another-village", full)
    # The first of several changes made the difference.
    for later in ("resident.relocated", "event.retracted"):
        who = town.somebody()
        stayed = listed[who]
        town.tell(who, other := town.elsewhere(stayed), "resident.relocated")
        third = next(code for code in VILLAGES if code not in (stayed, other))
        town.tell(who, third, later)
        town.planted[who] = Planted("in-another-village", "id.dukcapil.resident.relocated")
    who = town.somebody()
    town.tell(who, None, "rights.revoked")
    town.tell(who, town.elsewhere(listed[who]), "rights.restored")
    town.planted[who] = Planted("in-another-village", "id.dukcapil.rights.revoked")
    nobody = town.newcomer()
    listed[nobody] = VILLAGES[0]
    town.planted[nobody] = Planted("superfluous", None)
    for _ in range(20):
        who = town.somebody()
        town.tell(who, None, "rights.revoked")
        town.tell(who, listed[who], "rights.restored")


async def settled(parts: Parts, name: str, residents: int) -> tuple[Town, Voters, int]:
    """Everybody told, then the town's changes: the town, the list, and where it stands."""
    chance = random.Random(SEED)
    everybody = {
        UUID(int=chance.getrandbits(128)): chance.choice(VILLAGES) for _ in range(residents)
    }
    first = [says(who, at, position=n) for n, (who, at) in enumerate(everybody.items(), 1)]
    town = Town(chance, dict(everybody), residents)
    listed = dict(everybody)
    plant(town, listed)
    assert len(town.planted) == 20
    async with notifier_database(parts, name) as engine:
        await tell_voters(engine, first, datetime(2024, 8, 1, tzinfo=UTC))
        await tell_voters(engine, town.records)
    return town, listed, residents


class Pulse:
    """Asks for something small all the while: how long others wait for the notifier."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self.longest_ms = 0.0

    async def run(self) -> None:
        while True:
            began = time.perf_counter()
            await self._client.get("/healthz")
            self.longest_ms = max(self.longest_ms, (time.perf_counter() - began) * 1e3)
            await asyncio.sleep(PROBE_EVERY_S)


async def compared(notifier: NotifierProcess, body: bytes, form: str) -> tuple[float, Any]:
    """The answer to a list, with the seconds that it took, printed."""
    pulse = Pulse(notifier.client)
    probing = asyncio.create_task(pulse.run())
    began = time.perf_counter()
    answer = await notifier.client.post(
        f"/v1/elections/{ELECTION}/compare", content=body, timeout=120
    )
    took_s = time.perf_counter() - began
    probing.cancel()
    assert answer.status_code == 200, answer.text
    members = answer.json()
    print(
        f"{members['rows']:,} rows of {form} compared in {took_s:.2f} s:"
        f" {len(members['differences'])} differences; others waited up to"
        f" {pulse.longest_ms:.0f} ms",
        flush=True,
    )
    return took_s, members


def found(members: dict[str, Any]) -> dict[UUID, Planted]:
    assert members["left_out"] == 0
    return {
        UUID(each["resident_id"]): Planted(
            each["difference"], each["change"]["reason"] if each["change"] else None
        )
        for each in members["differences"]
    }


def workbook_of(voters: Voters) -> bytes:
    file = io.BytesIO()
    writer = WorkbookWriter(file, ("DPT",))
    writer.sheet(("resident_id", "village"), (38, 15))
    writer.rows((str(who), village) for who, village in voters.items())
    writer.close()
    return file.getvalue()


async def supplemented(notifier: NotifierProcess, listed: Voters, town: Town, at: int) -> bool:
    """Whether the supplement takes the old list to the new one."""
    path = f"/v1/elections/{ELECTION}/supplements"
    began = time.perf_counter()
    made = (await notifier.client.post(path, json={"from_sequence": at})).json()
    document = (await notifier.client.get(f"{path}/{made['number']}")).json()
    took_s = time.perf_counter() - began
    lines = await notifier.client.get(
        f"{path}/{made['number']}", headers={"Accept": "application/x-ndjson"}
    )
    proved = hashlib.sha256(lines.content).hexdigest() == made["hash"]
    print(
        f"supplement {made['number']}: {made['changes']} changes in {took_s:.2f} s,"
        f" hash {'proved' if proved else 'WRONG'}"
    )
    old = {who: village for who, village in listed.items() if town.planted.get(who) != NOBODYS}
    entries = [Entry(**change) for change in document["changes"]]
    new = apply(old, ((UUID(entry.voter), entry) for entry in entries))
    if isinstance(new, Misfit) or new != town.voters:
        print("the old list with the supplement is not the new one")
        return False
    _, members = await compared(notifier, persons_csv(new.items()), "the new list")
    return proved and not members["differences"] and members["agree"] == len(new)


NOBODYS: Final = Planted("superfluous", None)


async def show(parts: Parts, name: str, residents: int) -> bool:
    """Whether the show succeeds; what was measured is printed."""
    began = time.perf_counter()
    town, listed, at = await settled(parts, name, residents)
    print(f"{residents:,} residents told in {time.perf_counter() - began:.0f} s", flush=True)
    notifier = NotifierProcess(parts.url(name), parts.kafka_bootstrap, "bench-compare")
    async with running(notifier):
        body = persons_csv(listed.items())
        runs = [await compared(notifier, body, "CSV") for _ in range(RUNS)]
        _, book = await compared(notifier, workbook_of(listed), "XLSX")
        answers: Sequence[Any] = [*(members for _, members in runs), book]
        right = all(found(members) == town.planted for members in answers)
        took_s = median(took_s for took_s, _ in runs)
        print(f"the 20 planted differences were {'found and explained' if right else 'NOT found'}")
        print(f"median {took_s:.2f} s, load {os.getloadavg()}", flush=True)
        quick = took_s < MOST_S or residents > RESIDENTS
        return await supplemented(notifier, listed, town, at) and right and quick


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--residents", type=int, default=RESIDENTS, metavar="N")
    residents = parser.parse_args().residents
    with running_parts() as parts, cloned_database(parts) as name:
        fresh_topics(parts)
        return 0 if asyncio.run(show(parts, name, residents)) else 1


if __name__ == "__main__":
    sys.exit(main())
