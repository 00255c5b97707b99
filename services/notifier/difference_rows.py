"""The differences of a comparison as rows of CSV, each with the members of its change beside."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

PERSON_COLUMNS: Final = (
    *("difference", "row", "resident_id", "listed_village", "village", "sequence", "kind"),
    *("reason", "from_village", "to_village", "position", "time", "stage", "later_changes"),
)
COUNT_COLUMNS: Final = (
    *("village", "name", "count", "listed", "told", "sequence", "position", "time", "stage"),
    *("before", "after", "later_changes"),
)


def columns_of(kind: str) -> tuple[str, ...]:
    """The columns for a list of `persons` or of `counts`."""
    return COUNT_COLUMNS if kind == "counts" else PERSON_COLUMNS


def rows_of(
    differences: Iterable[Mapping[str, Any]], columns: tuple[str, ...]
) -> Iterator[list[Any]]:
    """A row for each difference, in the members of JSON."""
    for each in differences:
        members = {**(each.get("change") or {}), **each}
        yield [_written(members.get(name)) for name in columns]


def _written(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return value
