"""What may be written in `as_of`, and what is said of everything else."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from shared.as_of import UnreadableMomentError, read_moment

NOON = datetime(2024, 6, 24, 12, tzinfo=timezone(timedelta(hours=7)))


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("0", 0),
        ("120345", 120_345),
        ("007", 7),
        ("2024-06-24T12:00:00+07:00", NOON),
        ("2024-06-24T05:00:00Z", NOON),
        ("2024-06-24t05:00:00z", NOON),
        ("2024-06-23T22:00:00-07:00", NOON),
        ("2024-06-24 12:00:00+07:00", NOON),
        # An unencoded `+` in a URL.
        ("2024-06-24T12:00:00 07:00", NOON),
        ("2024-06-24T12:00:00.25+07:00", NOON + timedelta(microseconds=250_000)),
        ("2024-06-24T12:00:00.123456999+07:00", NOON + timedelta(microseconds=123_456)),
        ("2024-06-24T11:59:60+07:00", NOON),
    ],
)
def test_positions_and_times_are_read(written: str, moment: int | datetime) -> None:
    assert read_moment(written) == moment


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("", "must be a log position"),
        ("-1", "must be a log position"),
        ("+1", "must be a log position"),
        ("1.5", "must be a log position"),
        ("1e3", "must be a log position"),
        ("٣", "must be a log position"),
        ("now", "must be a log position"),
        ("2024-06", "must be a log position"),
        ("2024-06-24T12:00", "must be a log position"),
        ("2024-06-24T12:00:00+0700", "must be a log position"),
        ("9" * 19, "beyond the end"),
        ("9" * 10_000, "beyond the end"),
        ("2024-06-24", "a date alone"),
        ("2024-13-01", "a date alone"),
        ("2024-06-24T12:00:00", "lacks its offset"),
        ("2024-13-01T00:00:00Z", "does not exist"),
        ("2023-02-29T00:00:00Z", "does not exist"),
        ("2024-06-24T24:00:00Z", "does not exist"),
        ("2024-06-24T12:00:61Z", "does not exist"),
        ("2024-06-24T12:00:00+07:60", "must be a log position"),
        ("2024-06-24T12:00:00+24:00", "does not exist"),
        ("0000-01-01T00:00:00Z", "does not exist"),
        ("0001-01-01T00:00:00+07:00", "does not exist"),
        ("9999-12-31T23:59:59-07:00", "does not exist"),
    ],
)
def test_anything_else_is_refused_with_what_to_write(written: str, said: str) -> None:
    with pytest.raises(UnreadableMomentError, match=said):
        read_moment(written)


def test_a_time_is_read_as_utc() -> None:
    read = read_moment("2024-06-24T12:00:00+07:00")
    assert isinstance(read, datetime)
    assert read.tzinfo is UTC
