"""Holds both feeds of an election against the slow model, whatever was put of it on the way."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from tests.support.differences import agree, require
from tests.support.electing import Put
from tests.support.reading import Row
from tests.support.reckoning import CHANGE_MEMBERS, Ledger, tallied
from tests.support.slow_model import COUNTS, Election, Model, district_of, village_as_voter

Definitions = Sequence[Election | None]

VOTER_MEMBERS: Final = {
    *("sequence", "election", "voter", "kind", "reason"),
    *("from_village", "to_village", "position", "time", "stage"),
}
REDEFINED: Final = "election.changed"
NOTHING: Final = dict.fromkeys(COUNTS, 0)


# Villages


def check_villages(
    changes: Sequence[Row], definitions: Definitions, puts: Sequence[Put], ledger: Ledger
) -> None:
    """Without a gap, each village's changes join, and their sum is the model's tallies."""
    election = definitions[-1]
    assert election is not None
    stands: dict[str, dict[str, int]] = {}
    touched = touched_by(ledger.model, definitions)
    for number, change in enumerate(changes, start=1):
        about = f"change {number} of {election.id}"
        agree(set(change), set(CHANGE_MEMBERS), f"members of {about}")
        village = change["village"]
        agree((change["sequence"], change["election"]), (number, election.id), about)
        agree(change["district"], district_of(village), about)
        agree(change["before"], stands.get(village, NOTHING), f"before in {about}, {village}")
        require(change["before"] != change["after"], f"{about} changes nothing: {change}")
        check_moment(change, definitions, puts, ledger, about)
        if is_recorded(change, ledger):
            place = (change["position"], village)
            require(place in touched, f"{about}: nothing at {place} touches that village")
        stands[village] = change["after"]
    tallies = {code: row for code, row in tallied(ledger.model, election).items() if any_of(row)}
    last = {code: row for code, row in stands.items() if any_of(row)}
    for village in sorted(tallies.keys() | last.keys()):
        about = f"the sum of the changes of {village} in {election.id}"
        agree(last.get(village, NOTHING), tallies.get(village, NOTHING), about)


def any_of(row: dict[str, int]) -> bool:
    return any(row.values())


def touched_by(model: Model, definitions: Definitions) -> set[tuple[int, str]]:
    """Which village each position touches, by any of the definitions."""
    return {
        (change.position, change.village)
        for definition in definitions
        if definition is not None
        for change in model.village_changes(definition)
    }


def check_moment(
    change: Row, definitions: Definitions, puts: Sequence[Put], ledger: Ledger, about: str
) -> None:
    """Time and stage are those of the event, or of the moment in which a definition served."""
    moment = datetime.fromisoformat(change["time"])
    if not is_recorded(change, ledger):
        switched = any(put.began <= moment <= put.served for put in puts)
        require(switched, f"{about} is neither of its event's time nor of a put's: {change}")
    stages = {each.stage_at(moment) for each in definitions if each is not None}
    require(change["stage"] in stages, f"the stage of {about} is none of {stages}: {change}")


def is_recorded(change: Row, ledger: Ledger) -> bool:
    """Whether a change bears the time of the event at its position."""
    entry = ledger.log[change["position"] - 1]
    return datetime.fromisoformat(change["time"]) == datetime.fromisoformat(entry["recorded_at"])


# Voters


def check_voters(
    changes: Sequence[Row], definitions: Definitions, puts: Sequence[Put], ledger: Ledger
) -> None:
    """Without a gap, each person's changes are the model's with the right reasons, and they add
    up to the voters of each village."""
    election = definitions[-1]
    assert election is not None
    by_voter: dict[str, list[Row]] = {}
    for number, change in enumerate(changes, start=1):
        about = f"voters' change {number} of {election.id}"
        agree(set(change), VOTER_MEMBERS, f"members of {about}")
        agree((change["sequence"], change["election"]), (number, election.id), about)
        check_moment(change, definitions, puts, ledger, about)
        by_voter.setdefault(change["voter"], []).append(change)
    strangers = by_voter.keys() - ledger.residents.keys()
    require(not strangers, f"voters of {election.id} who are nobody: {sorted(strangers)[:3]}")
    lives = lives_of(ledger.model, definitions)
    for resident_id, resident in ledger.residents.items():
        told = by_voter.get(resident_id, [])
        about = f"{resident_id} in {election.id} was told {brief_of(told)}"
        require(fits(told, lives[resident]), f"{about}, which is not the life {lives[resident]}")
    check_sums(changes, election, ledger)


def check_sums(changes: Sequence[Row], election: Election, ledger: Ledger) -> None:
    """Adding all up gives the set of voters of each village."""
    at: dict[str, str] = {}
    for change in changes:
        agree(change["from_village"], at.pop(change["voter"], None), f"where from: {change}")
        if change["to_village"] is not None:
            at[change["voter"]] = change["to_village"]
    voters: dict[str, set[int]] = {}
    for resident_id, village in at.items():
        voters.setdefault(village, set()).add(ledger.residents[resident_id])
    agree(voters, ledger.model.voters(election), f"the voters of {election.id}")


def brief_of(changes: Sequence[Row]) -> list[str]:
    """What a person's changes come to."""
    return [f"{c['kind']} {c['from_village']}>{c['to_village']} {c['reason']}" for c in changes]


# After each of a resident's events: its position and type, and the village by each definition.
Moment = tuple[int, str, tuple[str | None, ...]]


def lives_of(model: Model, definitions: Definitions) -> dict[int, list[Moment]]:
    """Where every resident is a voter after each of their events, by each definition."""
    lives: dict[int, list[Moment]] = {}
    for entry in model.log:
        life = lives.setdefault(entry.resident, [(0, "", (None,) * len(definitions))])
        resident = model.resident(entry.resident, entry.position)
        villages = tuple(None if d is None else village_as_voter(resident, d) for d in definitions)
        life.append((entry.position, entry.event["type"], villages))
    return lives


def fits(told: Sequence[Row], life: Sequence[Moment]) -> bool:
    """Whether changes are those of a life in which each definition gave way to the next at some
    moment: which one depends on what projections had counted of this person then."""
    places, seen = [(0, 0, 0)], set[tuple[int, int, int]]()
    end = (len(life) - 1, len(life[0][2]) - 1, len(told))
    while places:
        place = places.pop()
        if place == end:
            return True
        if place not in seen:
            seen.add(place)
            places += _next_places(place, told, life)
    return False


def _next_places(
    place: tuple[int, int, int], told: Sequence[Row], life: Sequence[Moment]
) -> Iterator[tuple[int, int, int]]:
    at, definition, number = place
    before = life[at][2][definition]
    if at + 1 < len(life):
        position, kind, villages = life[at + 1]
        if before == villages[definition]:
            yield at + 1, definition, number
        elif _says(told, number, before, villages[definition], kind, position):
            yield at + 1, definition, number + 1
    if definition + 1 < len(life[at][2]):
        after = life[at][2][definition + 1]
        if before == after:
            yield at, definition + 1, number
        elif _says(told, number, before, after, REDEFINED, None):
            yield at, definition + 1, number + 1


def _says(
    told: Sequence[Row],
    number: int,
    before: str | None,
    after: str | None,
    reason: str,
    position: int | None,
) -> bool:
    """Whether a change says this; the position of a new definition is that of the whole log."""
    if number == len(told):
        return False
    change = told[number]
    kind = "added" if before is None else "removed" if after is None else "moved"
    said = change["kind"], change["from_village"], change["to_village"], change["reason"]
    return said == (kind, before, after, reason) and position in (None, change["position"])
