"""What is handed on at its numbering is, byte for byte, what the database serves of it."""

from datetime import UTC, datetime
from uuid import UUID

from services.notifier.feed import Feed
from services.notifier.records import Batch as VillageBatch
from services.notifier.records import TopicValue, read_fetched, read_voter_batch
from services.notifier.voter_feed import VoterFeed
from shared.topics import VOTER_CHANGES, VOTER_PERSONS
from tests.support.notifier_process import ELECTION
from tests.support.parts import Parts
from tests.support.told_voters import notifier_database
from tests.support.village_records import written

VILLAGE, OTHER = "15.01.09.2001", "15.01.09.2002"
NUMBERED_AT = datetime(2024, 8, 20, 1, 0, 1, 5, tzinfo=UTC)
ANNOUNCED_MS = 1_724_115_600_400
TRACE = {
    "received_at": "2024-08-20T08:00:00.1+07:00",
    "published_at": "2024-08-20T01:00:00.200000Z",
    "counted_at": "2024-08-20T01:00:00.3Z",
}


async def test_a_village_s_change(parts: Parts, database: str) -> None:
    values = [
        written(village=VILLAGE, residents=3, trace=TRACE, time="2024-08-20T08:00:00+07:00"),
        written(village=OTHER, residents=4, stage=None),
        written(village=VILLAGE, revision=2, residents=5, before=3, stage="dpt"),
    ]
    fetched = [
        TopicValue(0, offset, value, VOTER_CHANGES, ANNOUNCED_MS)
        for offset, value in enumerate(values)
    ]
    placed, unreadable = read_fetched(fetched)
    batch = VillageBatch([each.record for each in placed], unreadable)
    async with notifier_database(parts, database) as engine:
        taken = await Feed(engine).take(batch, NUMBERED_AT)
        served = await Feed(engine).changes(ELECTION, 0, 10)
    assert [change.sequence for change in served] == [1, 2, 3]
    assert served[0].passed is not None
    assert served[0].passed.trace is not None
    assert taken.served == {ELECTION: served}


async def test_a_person_s_change(parts: Parts, database: str) -> None:
    values = [
        b'{"election":"pilkada-2024","voter":"%s","fold":0,"place":%d,"to_village":%s,'
        b'"reason":"id.dukcapil.resident.registered","position":%d,'
        b'"time":"2024-08-20T08:00:00+07:00","stage":null}'
        % (str(UUID(int=voter)).encode(), place, village, place)
        for place, (voter, village) in enumerate(
            [(1, b'"15.01.09.2001"'), (2, b'"15.01.09.2002"'), (1, b"null")], 1
        )
    ]
    fetched = [TopicValue(0, n, value, VOTER_PERSONS) for n, value in enumerate(values)]
    async with notifier_database(parts, database) as engine:
        taken = await VoterFeed(engine).take(read_voter_batch(fetched), NUMBERED_AT)
        served = await VoterFeed(engine).changes(ELECTION, 0, 10)
    assert [change.sequence for change in served] == [1, 2, 3]
    assert taken.served == {ELECTION: served}


async def test_what_changes_nothing_is_not_handed_on(parts: Parts, database: str) -> None:
    fetched = [TopicValue(0, 0, written(residents=1), VOTER_CHANGES)]
    placed, unreadable = read_fetched(fetched)
    batch = VillageBatch([each.record for each in placed], unreadable)
    async with notifier_database(parts, database) as engine:
        assert (await Feed(engine).take(batch, NUMBERED_AT)).served.keys() == {ELECTION}
        assert (await Feed(engine).take(batch, NUMBERED_AT)).served == {}
