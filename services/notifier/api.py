"""What KPU reads: the changes in pages, as a stream, and the snapshot to begin from."""

import asyncio
import re
from dataclasses import dataclass
from functools import cache, partial
from typing import Annotated, Any, Final, Protocol

from fastapi import APIRouter, Depends, Header, Query, Request, Response

from services.notifier import answers
from services.notifier.domain.wanted import EVERYTHING, Wanted
from services.notifier.event_stream import EventStream
from services.notifier.feed import ElectionFeed, Feed, ServedChange, Snapshot
from services.notifier.filtering import FilteredFeed, Found, look_on
from services.notifier.known_elections import known_election, no_such_election
from services.notifier.streaming import PAGE_CHANGES, FeedEnd, Stands, Streams
from services.notifier.traced import with_trace
from services.notifier.voter_feed import VoterFeed
from shared.access import Role, require, still_stands
from shared.as_of import UnreadableMomentError, read_moment
from shared.counts import NOTHING, Counts
from shared.documenting import KPU, documented, json_answer
from shared.event_log import BeyondTheLogError
from shared.problems import Problem, ProblemError, ProblemType
from shared.regions import Region, district_of, lies_in, regions, villages_in
from shared.web import JsonResponse

DEFAULT_LIMIT: Final = 1_000
MOST_CHANGES: Final = 10_000

# How much of the feed a filtered page looks through, and how many codes a filter has.
MOST_STRETCHES: Final = 20
MOST_CODES: Final = 500

_SEQUENCE: Final = re.compile(r"[0-9]{1,18}", re.ASCII)
_CODE: Final = {
    "village": re.compile(r"[0-9]{2}\.[0-9]{2}\.[0-9]{2}\.[0-9]{4}", re.ASCII),
    "district": re.compile(r"[0-9]{2}\.[0-9]{2}\.[0-9]{2}", re.ASCII),
}
_WHAT_CODE: Final = {
    "village": "village must be the code of a village of the election's area, such as"
    " 15.01.16.2003; GET …/snapshot lists them.",
    "district": "district must be the code of a kecamatan of the election's area, such as"
    " 15.01.16; GET …/snapshot names that of each village.",
}

After = Annotated[
    str | None, Query(description="The last sequence that the client has; 0 for the beginning.")
]
Limit = Annotated[
    int,
    Query(ge=1, le=MOST_CHANGES, description="The most changes in one answer, up to 10,000."),
]
LastEventId = Annotated[
    str | None,
    Header(alias="Last-Event-ID", description="As `after`, sent by EventSource clients; it wins."),
]
Traced = Annotated[
    bool,
    Query(
        description="Each change with `trace`: when its last event was received, committed,"
        " published and counted, and the change announced and numbered; null where it did not"
        " come straight through."
    ),
]
AsOf = Annotated[
    str | None,
    Query(
        description="The snapshot as it was then: for an RFC 3339 time such as"
        " 2024-06-24T12:00:00%2B07:00, of what had been numbered by then; for a log position, of"
        " what had been told before the first change with a later position."
    ),
]


_READING: Final = (ProblemType.INVALID, ProblemType.NOT_FOUND, ProblemType.UNAVAILABLE)


@dataclass
class Asked:
    """The filters of a request."""

    village: Annotated[
        list[str] | None,
        Query(description="Only the changes of this village; may be repeated."),
    ] = None
    district: Annotated[
        list[str] | None,
        Query(description="Only the changes of this kecamatan's villages; may be repeated."),
    ] = None


Filters = Annotated[Asked, Depends(Asked)]


def feed_routes(feed: Feed, streams: Streams) -> APIRouter:
    """The routes of contract section 6."""
    router = APIRouter(prefix="/v1/elections")

    @router.get("", summary="The elections that have a feed")
    @documented(
        KPU,
        {200: json_answer("All of them.", answers.Feeds, answers.FEEDS)},
        ProblemType.UNAVAILABLE,
    )
    async def elections(request: Request) -> JsonResponse:
        await require(request, Role.KPU)
        return JsonResponse({"elections": [_feed_members(e) for e in await feed.elections()]})

    @router.get("/{election}/changes", summary="The changes after a sequence")
    @documented(
        KPU,
        {200: json_answer("The changes.", answers.VillageChanges, answers.CHANGES)},
        *_READING,
    )
    async def changes(
        request: Request,
        election: str,
        filters: Filters,
        after: After = None,
        limit: Limit = DEFAULT_LIMIT,
        trace: Traced = False,
    ) -> Response:
        """In order and without a gap. `last` is the feed's last sequence at this moment: the
        client has everything when its own last one equals it. With `village` or `district` the
        answer also has `through`: go on with `after` being that, since up to there nothing that
        you asked for is missing, also where the page is empty."""
        await require(request, Role.KPU)
        wanted = await read_filters(feed, election, filters)
        return await _page(feed, election, wanted, after, limit, trace)

    @router.get("/{election}/stream", summary="The changes as server-sent events")
    @documented(
        KPU,
        {200: answers.streamed("The changes.", answers.VillageChange, answers.CHANGE)},
        *_READING,
    )
    async def stream(
        request: Request,
        election: str,
        filters: Filters,
        after: After = None,
        last_event_id: LastEventId = None,
        trace: Traced = False,
    ) -> EventStream:
        """Each event `change` has the sequence as its id. `Last-Event-ID` wins over `after`;
        with neither the stream begins with the first change, so that nobody misses what came
        before by forgetting to say where they are. With `village` or `district` the ids are
        still those of the whole feed, and an `id` without an event moves them on now and then.
        A last event `lagging` ends the stream of a client that takes too little, and `revoked`
        that of a client whose token was revoked."""
        await require(request, Role.KPU)
        wanted = await read_filters(feed, election, filters)
        stands = partial(still_stands, request, Role.KPU)
        return await _follow(feed, streams, election, stands, wanted, after, last_event_id, trace)

    @router.get("/{election}/snapshot", summary="All tallies and the sequence they stand at")
    @documented(
        KPU,
        {200: json_answer("The tallies.", answers.Snapshot, answers.SNAPSHOT)},
        *_READING,
    )
    async def snapshot(request: Request, election: str, as_of: AsOf = None) -> JsonResponse:
        """Go on with `stream?after=<sequence>`. `position` is the highest log position among
        the changes told up to that sequence."""
        await require(request, Role.KPU)
        known = await known_election(feed, election)
        taken = await _taken(feed, known.election, as_of)
        if taken is None:
            raise no_such_election()
        # In a thread: the country has so many villages that the streams would stand still.
        return JsonResponse(await asyncio.to_thread(_snapshot_members, taken))

    return router


def voter_routes(feed: VoterFeed, villages: Feed, streams: Streams) -> APIRouter:
    """The same in persons; filtered, those who come to or leave a village that is asked for."""
    router = APIRouter(prefix="/v1/elections/{election}/voters")

    @router.get("/changes", summary="The changes of voters after a sequence")
    @documented(
        KPU,
        {200: json_answer("The changes.", answers.VoterChanges, answers.VOTER_CHANGES)},
        *_READING,
    )
    async def changes(
        request: Request,
        election: str,
        filters: Filters,
        after: After = None,
        limit: Limit = DEFAULT_LIMIT,
    ) -> Response:
        """Who became (`added`), stopped being (`removed`) or moved (`moved`) as eligible, by
        `resident_id`, and which type of event did it; `election.changed` where a change of the
        election did. Added up they are the voters of each village."""
        await require(request, Role.KPU)
        wanted = await read_filters(villages, election, filters)
        return await _page(feed, election, wanted, after, limit)

    @router.get("/stream", summary="The changes of voters as server-sent events")
    @documented(
        KPU,
        {200: answers.streamed("The changes.", answers.VoterChange, answers.VOTER_CHANGE)},
        *_READING,
    )
    async def stream(
        request: Request,
        election: str,
        filters: Filters,
        after: After = None,
        last_event_id: LastEventId = None,
    ) -> EventStream:
        """As the stream of the villages' changes, with a sequence of its own."""
        await require(request, Role.KPU)
        wanted = await read_filters(villages, election, filters)
        stands = partial(still_stands, request, Role.KPU)
        return await _follow(feed, streams, election, stands, wanted, after, last_event_id)

    return router


class _Feed(FilteredFeed, Protocol):
    """What the villages' and the voters' feed have alike."""

    async def election(self, election: str) -> FeedEnd | None: ...

    async def changes(self, election: str, after: int, limit: int) -> list[ServedChange]: ...


async def _page(
    feed: _Feed,
    election: str,
    wanted: Wanted,
    after: str | None,
    limit: int,
    traced: bool = False,
) -> Response:
    known = await known_election(feed, election)
    start = _start(after, "after", known)
    if wanted.all:
        changes, more = await _read(feed, known, start, limit), b""
    else:
        found = await _look(feed, known, wanted, start, limit)
        changes, more = found.changes, b',"through":%d' % found.through
    bodies = b",".join(_written(change, traced) for change in changes)
    return Response(
        b'{"changes":[%s],"last":%d%s}' % (bodies, known.sequence, more),
        media_type="application/json",
    )


def _written(change: ServedChange, traced: bool) -> bytes:
    if not traced or change.passed is None:
        return change.body
    return with_trace(change.body, change.passed)


async def _follow(
    feed: _Feed,
    streams: Streams,
    election: str,
    stands: Stands,
    wanted: Wanted,
    after: str | None,
    last_event_id: str | None,
    traced: bool = False,
) -> EventStream:
    known = await known_election(feed, election)
    # EventSource clients that have seen no id may send an empty one.
    if last_event_id:
        start = _start(last_event_id, "Last-Event-ID", known)
    else:
        start = _start(after, "after", known)
    stream = streams.open(known.election, start, known.sequence, stands, wanted, traced)
    return EventStream(stream)


async def read_filters(feed: Feed, election: str, asked: Asked) -> Wanted:
    """What the filters say. Raises ProblemError where a code is of no place of the election.

    A place that left the area may still be asked for: the feed tells how it went to zeros.
    """
    villages, districts = frozenset(asked.village or ()), frozenset(asked.district or ())
    if not villages and not districts:
        return EVERYTHING
    if len(villages) + len(districts) > MOST_CODES:
        raise _invalid("village" if villages else "district", f"At most {MOST_CODES} codes.")
    known = await known_election(feed, election)
    wanted = Wanted(villages, districts)
    # In a thread: the first look reads the national list.
    for field, code in await asyncio.to_thread(_outside, wanted, known.area):
        if not _CODE[field].fullmatch(code) or not await feed.tells_of(election, code):
            raise _invalid(field, _WHAT_CODE[field])
    return wanted


def _outside(wanted: Wanted, area: str | None) -> list[tuple[str, str]]:
    """The codes that are of no village, or no district, of the area: each with its field."""
    asked = [("village", 3, code) for code in wanted.villages]
    asked += [("district", 2, code) for code in wanted.districts]
    return [
        (field, code)
        for field, dots, code in sorted(asked)
        if code not in regions() or code.count(".") != dots or not _in_area(code, area)
    ]


def _in_area(code: str, area: str | None) -> bool:
    return area is None or lies_in(code, area) or lies_in(area, code)


async def _taken(feed: Feed, election: str, as_of: str | None) -> Snapshot | None:
    if as_of is None:
        return await feed.snapshot(election)
    try:
        return await feed.snapshot_as_of(election, read_moment(as_of))
    except (UnreadableMomentError, BeyondTheLogError) as error:
        raise _invalid("as_of", f"as_of {error}") from None


def _feed_members(known: ElectionFeed) -> answers.Feed:
    return {
        "id": known.election,
        "area": known.area,
        "sequence": known.sequence,
        "position": known.position,
    }


def _start(written: str | None, field: str, known: FeedEnd) -> int:
    """The sequence to go on from. Raises ProblemError where it cannot be one of this feed."""
    if written is None:
        return 0
    if not _SEQUENCE.fullmatch(written):
        raise _invalid(field, f"{field} is the last sequence that you have: a whole number from 0.")
    sequence = int(written)
    if sequence > known.sequence:
        raise _invalid(
            field,
            f"{field} lies beyond the end of this feed, which is {known.sequence}: the sequence"
            " was probably taken from another election's feed.",
        )
    return sequence


def _invalid(field: str, detail: str) -> ProblemError:
    return ProblemError(Problem(ProblemType.INVALID, detail, field))


async def _read(feed: _Feed, known: FeedEnd, after: int, limit: int) -> list[ServedChange]:
    """Changes up to the end that the answer names, in pages, so that no request keeps the others
    waiting while it writes."""
    end = min(known.sequence, after + limit)
    found: list[ServedChange] = []
    while after < end:
        found += await feed.changes(known.election, after, min(PAGE_CHANGES, end - after))
        after = found[-1].sequence
    return found


async def _look(feed: _Feed, known: FeedEnd, wanted: Wanted, after: int, limit: int) -> Found:
    """The wanted changes up to the end that the answer names, or as far as one request looks."""
    found = Found([], after)
    for _ in range(MOST_STRETCHES):
        left = limit - len(found.changes)
        if not left or found.through >= known.sequence:
            break
        page = await look_on(
            feed, known.election, wanted, found.through, known.sequence, min(PAGE_CHANGES, left)
        )
        found = Found(found.changes + page.changes, page.through)
    return found


def _snapshot_members(taken: Snapshot) -> dict[str, Any]:
    return {
        "sequence": taken.head.sequence,
        "position": taken.head.position,
        "villages": [
            _village_members(village, taken.counts.get(village.code, NOTHING))
            for village in _villages_of(taken)
        ],
    }


def _villages_of(taken: Snapshot) -> list[Region]:
    """The villages of the area, and any other of which something was told."""
    area = _villages_by_code(taken.area) if taken.area else {}
    others = {
        code: regions().get(code, Region(code, code, district_of(code)))
        for code, counts in taken.counts.items()
        if code not in area and any(counts)
    }
    return sorted((area | others).values(), key=lambda village: village.code)


@cache
def _villages_by_code(area: str) -> dict[str, Region]:
    return {village.code: village for village in villages_in(area)}


def _village_members(village: Region, counts: Counts) -> dict[str, Any]:
    return {
        "village": village.code,
        "name": village.name,
        "district": district_of(village.code),
        **counts._asdict(),
    }
