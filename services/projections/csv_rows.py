"""Rows as CSV with a header row."""

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any, Final

CSV_MEDIA_TYPE: Final = "text/csv"
POSITION_HEADER: Final = "X-Cacah-Position"

ELECTION_COLUMNS: Final = (
    *("id", "polling_day", "area", "minimum_age", "first_time_since", "stages", "state"),
)


def csv_text(rows: Iterable[Mapping[str, Any]], columns: Iterable[str]) -> str:
    """The rows, with booleans as JSON writes them and none as an empty cell."""
    written = io.StringIO(newline="")
    writer = csv.DictWriter(written, list(columns))
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _cell(value) for name, value in row.items()})
    return written.getvalue()


def stages_text(stages: Iterable[Mapping[str, Any]]) -> str:
    """The stages of an election in one cell."""
    return "; ".join(f"{stage['name']} {stage['from']}" for stage in stages)


def _cell(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value
