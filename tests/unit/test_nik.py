"""The NIK's form, on invented numbers."""

import pytest

from services.registry.domain.nik import (
    agrees,
    fault_of,
    is_told_in,
    readable_in,
    sex_of,
    struck_out,
)
from shared.events.facts import Sex


@pytest.mark.parametrize(
    "nik",
    [
        "1501012711079999",
        "1501016711079999",
        "1501222711079999",
        "1501032711079999",
        "1501012902089999",
        "1501012902009999",
        "9999013112010001",
    ],
)
def test_a_nik_of_any_region_and_an_existing_date_is_well_formed(nik: str) -> None:
    assert fault_of(nik) is None


@pytest.mark.parametrize(
    ("nik", "why"),
    [
        ("1501010011079999", "date"),
        ("1501013211079999", "date"),
        ("1501014011079999", "date"),
        ("1501017211079999", "date"),
        ("1501012713079999", "date"),
        ("1501012700079999", "date"),
        ("1501013102079999", "date"),
        ("1501012902079999", "date"),
        ("1501012711070000", "0000"),
        ("150101271107999A", "digits"),
        ("15010127110799991", "digits"),
        ("150101271107999", "digits"),
        ("١٥٠١٠١٢٧١١٠٧٩٩٩٩", "digits"),
        ("1501012711079999\n", "digits"),
        ("2222222222222222", "date"),
    ],
)
def test_a_nik_that_cannot_be_is_named_by_its_fault(nik: str, why: str) -> None:
    assert why in (fault_of(nik) or "")


@pytest.mark.parametrize(
    ("birth_date", "sex", "same"),
    [
        ("2007-11-27", Sex.MALE, True),
        ("1907-11-27", Sex.MALE, True),
        ("2007-11-28", Sex.MALE, False),
        ("2007-11-27", Sex.FEMALE, False),
        ("2007-11", Sex.MALE, True),
        ("2007-10", Sex.MALE, False),
        ("2007", Sex.MALE, True),
        ("2008", Sex.MALE, False),
    ],
)
def test_only_the_known_parts_of_a_birth_date_are_held_against_the_nik(
    birth_date: str, sex: Sex, same: bool
) -> None:
    assert agrees("1501012711079999", birth_date, sex) is same


def test_a_womans_day_is_written_with_forty_added() -> None:
    assert agrees("1501016711079999", "2007-11-27", Sex.FEMALE)


def test_a_nik_in_a_text_is_found_when_it_stands_alone() -> None:
    assert is_told_in("salah NIK 1501012711079999, mestinya lain")
    assert not is_told_in("SKPWNI/1501/27112007/9999")
    assert not is_told_in("a1501012711079999f")


@pytest.mark.parametrize(
    ("text", "struck"),
    [
        ("NIK 1501012711079999.", "NIK ****************."),
        ("x15010127110799991y", "x*****************y"),
        ("150101271107999", "150101271107999"),
        ("1501012711079999 1501012711079998", "*" * 33),
        ("no. 150101/27-11.07 9999, 7", "no. " + "*" * 20 + ", 7"),
        ("", ""),
    ],
)
def test_whatever_could_hold_a_nik_is_struck_out(text: str, struck: str) -> None:
    assert struck_out(text) == struck


@pytest.mark.parametrize(
    ("day", "sex"), [("01", Sex.MALE), ("31", Sex.MALE), ("41", Sex.FEMALE), ("71", Sex.FEMALE)]
)
def test_the_day_of_birth_tells_the_sex(day: str, sex: Sex) -> None:
    assert sex_of(f"150101{day}01079999") is sex


@pytest.mark.parametrize("month", range(1, 13))
def test_each_month_has_its_days(month: int) -> None:
    last = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)[month - 1]
    assert fault_of(f"150101{last:02}{month:02}089999") is None
    assert fault_of(f"150101{last + 40:02}{month:02}089999") is None
    assert fault_of(f"150101{last + 1:02}{month:02}089999") is not None


def test_the_serial_alone_may_not_be_zero() -> None:
    assert fault_of("0000000101000001") is None
    assert fault_of("1501012711070000") == "has the serial 0000, which is never given"
    assert fault_of("1501012711079990") is None


def test_the_day_of_a_nik_is_compared_with_its_zero() -> None:
    assert agrees("1501010502079999", "2007-02-05", Sex.MALE)
    assert agrees("1501014502079999", "2007-02-05", Sex.FEMALE)
    assert not agrees("1501010502079999", "2007-05-05", Sex.MALE)


@pytest.mark.parametrize("around", ["{}", "NIK:{}.", "({})", "a {} b 1501013211079999"])
def test_a_nik_between_other_signs_is_found(around: str) -> None:
    assert is_told_in(around.format("1501012711079999"))


@pytest.mark.parametrize("text", ["11501012711079999", "1501012711079999Z", "1501013211079999"])
def test_a_longer_number_or_one_that_is_no_nik_is_not_found(text: str) -> None:
    assert not is_told_in(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("SKPWNI/1501/0127/1107/9999/3", ["1501012711079999", "5010127110799993"]),
        ("x91501012711079999y", ["1501012711079999"]),
        ("15010127110799 - 99", ["1501012711079999"]),
        ("1501012711079999, 1501012711079998", ["1501012711079999", "1501012711079998"]),
        ("1501 tanggal 012711079999", []),
        ("150101271107999", []),
        ("2024112720055312", []),
    ],
)
def test_a_nik_is_read_out_of_a_long_number_however_it_is_grouped(
    text: str, found: list[str]
) -> None:
    assert list(readable_in(text)) == found
