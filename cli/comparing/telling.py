"""What a comparison found, as a person reads it, and as CSV."""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cli.comparing.listing import ListedNik
from services.notifier.difference_rows import columns_of, rows_of

Members = dict[str, Any]

VILLAGES_SHOWN: Final = 15
DIFFERENCES_SHOWN: Final = 20
UNKNOWN: Final = "unknown"


def differs(answer: Members, unknown: list[ListedNik]) -> int:
    """How many differences there are."""
    return len(answer["differences"]) + int(answer["left_out"]) + len(unknown)


def write_differences(path: Path, answer: Members, unknown: list[ListedNik]) -> None:
    """The differences as CSV, those of NIKs that nobody has last; no NIK is among them."""
    columns = columns_of(answer["list"])
    nobodys = [
        {"difference": UNKNOWN, "row": each.row, "listed_village": each.village} for each in unknown
    ]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows_of([*answer["differences"], *nobodys], columns))


def told(answer: Members, unknown: list[ListedNik]) -> RenderableType:
    """The result on a screen."""
    if answer["list"] == "counts":
        return Group(_count_heading(answer), _counts(answer["differences"]))
    parts = (
        _heading(answer, unknown),
        _villages(answer["villages"]),
        _differences(answer, unknown),
    )
    return Group(*(Padding(part, (0, 0, 1, 0)) for part in parts))


def _heading(answer: Members, unknown: list[ListedNik]) -> RenderableType:
    title = f"{answer['election']}, voters' feed up to sequence {answer['sequence']:,}"
    found = Table.grid(padding=(0, 2))
    found.add_column(justify="right")
    for number, words in (
        (answer["agree"], "agree"),
        (answer["missing"], "missing: voters who are not in your list"),
        (answer["superfluous"], "superfluous: listed, but no voters"),
        (answer["in_another_village"], "listed in one village, voters in another"),
        (len(unknown), "unknown: nobody has the NIK"),
    ):
        if number or words == "agree":
            found.add_row(f"{number:,}", words)
    return Group(Text(title, style="bold"), found, Text())


def _villages(villages: Iterable[Members]) -> RenderableType:
    differing = [each for each in villages if _number(each)]
    if not differing:
        return Text()
    differing.sort(key=lambda each: (-_number(each), each["village"]))
    table = Table(box=None, pad_edge=False)
    table.add_column("village", no_wrap=True)
    table.add_column("name")
    for title in ("listed", "voters", *(part.replace("_", " ") for part in _PARTS)):
        table.add_column(title, justify="right")
    for each in differing[:VILLAGES_SHOWN]:
        table.add_row(
            each["village"],
            Text(each["name"]),
            *(f"{each[name]:,}" for name in ("listed", "told", *_PARTS)),
        )
    left = len(differing) - VILLAGES_SHOWN
    return Group(table, Text(f"and {left:,} villages more" if left > 0 else ""))


_PARTS: Final = ("missing", "superfluous", "votes_elsewhere", "listed_elsewhere")


def _number(village: Members) -> int:
    return sum(int(village[name]) for name in _PARTS)


def _differences(answer: Members, unknown: list[ListedNik]) -> RenderableType:
    table = Table(box=None, pad_edge=False)
    for title in ("row", "resident_id", "what", "why"):
        table.add_column(title, no_wrap=title in ("row", "resident_id"))
    for each in answer["differences"][:DIFFERENCES_SHOWN]:
        row = "" if each["row"] is None else f"{each['row']}"
        table.add_row(row, each["resident_id"], Text(_what(each)), Text(why(each)))
    for listed in unknown[: max(0, DIFFERENCES_SHOWN - table.row_count)]:
        table.add_row(f"{listed.row}", "", Text("listed, but nobody has the NIK"), Text(""))
    return table if table.row_count else Text("Nothing differs.")


def _what(each: Members) -> str:
    match each["difference"]:
        case "missing":
            return f"votes in {each['village']}, is not listed"
        case "superfluous":
            return f"listed in {each['listed_village']}, is no voter"
        case _:
            return f"listed in {each['listed_village']}, votes in {each['village']}"


def why(each: Members) -> str:
    """The change that made a difference, in a few words."""
    change = each["change"]
    if change is None:
        return "the feed never told of this person"
    reason = str(change["reason"]).removeprefix("id.dukcapil.")
    stage = f", {change['stage']}" if change["stage"] else ""
    later = f", and {each['later_changes']} later" if each["later_changes"] else ""
    return (
        f"{change['kind']} by {reason} on {str(change['time'])[:10]}"
        f" (sequence {change['sequence']}{stage}){later}"
    )


def _count_heading(answer: Members) -> RenderableType:
    return Text(
        f"{answer['election']}, villages' feed up to sequence {answer['sequence']:,}:"
        f" {answer['rows']:,} villages listed,"
        f" {len(answer['differences']) + answer['left_out']:,} counts differ\n",
        style="bold",
    )


def _counts(differences: list[Members]) -> RenderableType:
    if not differences:
        return Text("Nothing differs.")
    table = Table(box=None, pad_edge=False)
    for title in ("village", "name", "count", "listed", "told", "differs since"):
        table.add_column(title, justify="right" if title in ("listed", "told") else "left")
    for each in differences[:DIFFERENCES_SHOWN]:
        listed = "not listed" if each["listed"] is None else f"{each['listed']:,}"
        table.add_row(
            *(each["village"], Text(each["name"]), each["count"], listed, f"{each['told']:,}"),
            Text(_since(each)),
        )
    return table


def _since(each: Members) -> str:
    change = each["change"]
    if change is None:
        return "it never stood as listed"
    stage = f", {change['stage']}" if change["stage"] else ""
    later = f", and {each['later_changes']} later" if each["later_changes"] else ""
    return f"{str(change['time'])[:10]} (sequence {change['sequence']}{stage}){later}"


def printed(console: Console, answer: Members, unknown: list[ListedNik]) -> None:
    """Print the result."""
    console.print(told(answer, unknown))
