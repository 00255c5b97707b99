"""`cacah explain`: which events made the difference of a village's tally, by class, in words."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table

from cli.projections import (
    COULD_NOT_RUN,
    Address,
    CannotAskError,
    ElectionId,
    Home,
    Projections,
    TokenFile,
    table_console,
)
from shared.calendar import OFFICE_ZONE
from shared.counts import Counts

DIFFERS: Final = 1
PAGE_EVENTS: Final = 2_000

# A definition may be put while pages are read; then they are read from the first again.
ATTEMPTS: Final = 5

Event = dict[str, Any]
Tally = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Explanation:
    """A village's tally before and after, and all events between, in order."""

    heading: Mapping[str, Any]
    before: Tally
    after: Tally
    events: list[Event]

    def adds_up(self) -> bool:
        """Whether what the events added is the difference, count by count."""
        added = added_up(self.events)
        return all(self.before[name] + added[name] == self.after[name] for name in Counts._fields)


def added_up(events: list[Event]) -> Counter[str]:
    """What events added together, by count."""
    total: Counter[str] = Counter()
    for event in events:
        total.update(event["added"])
    return total


def explain(
    village: Annotated[str, typer.Argument(metavar="VILLAGE", help="The village's code.")],
    begin: Annotated[
        str | None,
        typer.Option("--from", help="After this time or position; else from the beginning."),
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", help="Up to this time or position; else up to now.")
    ] = None,
    election: ElectionId = "pilkada-2024",
    projections: Address = None,
    token_file: TokenFile = None,
    home: Home = None,
) -> None:
    """List the events that made a village's tally what it is, or changed it between two moments.

    No NIK and no name: a resident is their resident_id. Ends with 1 if the events did not add up
    to the difference, which would be a fault of the system.
    """
    try:
        with Projections(projections, token_file, home) as asked:
            found = _read(asked, (election, "villages", village, "history"), begin, end)
    except CannotAskError as error:
        typer.echo(f"cacah explain: {error}", err=True)
        raise typer.Exit(COULD_NOT_RUN) from None
    show(table_console(), election, found)
    if not found.adds_up():
        raise typer.Exit(DIFFERS)


def _read(
    asked: Projections, path: Sequence[str], begin: str | None, end: str | None
) -> Explanation:
    for _ in range(ATTEMPTS):
        first = page = asked.get(path, {"from": begin, "to": end, "limit": PAGE_EVENTS})
        events = list(page["events"])
        while page["next"] is not None and page["definition"] == first["definition"]:
            page = asked.get(path, {"from": page["next"], "to": first["to"], "limit": PAGE_EVENTS})
            events += page["events"]
        if page["definition"] == first["definition"]:
            return Explanation(first, first["before"], first["after"], events)
    raise CannotAskError("the election's definition changes again and again; ask later")


def show(console: Console, election: str, found: Explanation) -> None:
    """Print the groups, the events, and the sum that proves them whole."""
    heading = found.heading
    console.print(
        f"{heading['village']} {heading['name']}, {election}: after position {heading['from']}"
        f" up to position {heading['to']}",
        markup=False,
    )
    if (note := _on_the_definition(heading)) is not None:
        console.print(note, markup=False, soft_wrap=True)
    if not found.events:
        console.print("No event changed this village's tally.")
    else:
        for table in (_groups(found.events), _list(found.events)):
            console.print("", table, sep="\n")
    console.print("", _sum(found), "", sep="\n")
    console.print(
        f"before + {len(found.events)} events = after: "
        + ("yes, in every count" if found.adds_up() else "NO; tell the developers"),
        markup=False,
    )


def _on_the_definition(heading: Mapping[str, Any]) -> str | None:
    definition = heading["definition"]
    if definition["time"] is None or definition["position"] <= heading["from"]:
        return None
    moment = datetime.fromisoformat(definition["time"]).astimezone(OFFICE_ZONE)
    return (
        f"The election's definition of now came to serve on {moment:%Y-%m-%d %H:%M:%S %Z}, at"
        f" position {definition['position']}. All figures here are by it, those before then too:"
        " what another definition made of the same events is not among them, and the step from"
        " the one to the other was told to KPU as changes at that position."
    )


def _groups(events: list[Event]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("what happened")
    table.add_column("events", justify="right")
    table.add_column("together")
    grouped: dict[str, list[Event]] = {}
    for event in events:
        grouped.setdefault(event["in_words"], []).append(event)
    for words, members in sorted(grouped.items(), key=lambda item: -len(item[1])):
        table.add_row(words, f"{len(members):,}", in_words(added_up(members)))
    return table


def _list(events: list[Event]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("position", justify="right")
    for name in ("recorded", "resident_id"):
        table.add_column(name, no_wrap=True)
    table.add_column("what happened")
    table.add_column("added")
    for event in events:
        moment = datetime.fromisoformat(event["recorded_at"]).astimezone(OFFICE_ZONE)
        table.add_row(
            str(event["position"]),
            f"{moment:%Y-%m-%d %H:%M:%S}",
            event["resident_id"],
            event["in_words"] + _whence(event),
            in_words(event["added"]),
        )
    return table


def _whence(event: Event) -> str:
    if event["effect"] not in ("moved_in", "moved_out"):
        return ""
    where = event["other_village"] or "outside the area"
    return f" {'from' if event['effect'] == 'moved_in' else 'to'} {where}"


def in_words(added: Mapping[str, int]) -> str:
    """What was added, such as `eligible +1, eligible_recorded +1`; zeros are left out."""
    told = [f"{name} {added[name]:+,}" for name in Counts._fields if added.get(name)]
    return ", ".join(told) or "nothing"


def _sum(found: Explanation) -> Table:
    added = added_up(found.events)
    table = Table(box=None, pad_edge=False)
    table.add_column("count")
    for name in ("before", "added", "after"):
        table.add_column(name, justify="right")
    for name in Counts._fields:
        before, after = found.before[name], found.after[name]
        table.add_row(name, f"{before:,}", f"{added[name]:+,}", f"{after:,}")
    return table
