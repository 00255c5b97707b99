"""What the importer makes of single values: dates, codes, words; and how it shows them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.importing.niks_seen import NiksSeen
from cli.importing.people import name_of, nik_of
from cli.importing.written_dates import birth_date_of
from shared.lists.faults import Fault, Kind, masked
from shared.lists.village_codes import new_codes, village_of
from shared.regions import village_codes
from tests.support.import_files import TODAY


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("27|11|2007", "2007-11-27"),
        ("27-11-2007", "2007-11-27"),
        ("7-1-2007", "2007-01-07"),
        ("27/11/2007", "2007-11-27"),
        ("2007-11-27", "2007-11-27"),
        (" 2007-11-27 00:00:00 ", "2007-11-27"),
        ("00|11|2007", "2007-11"),
        ("**|11|2007", "2007-11"),
        ("00|00|2007", "2007"),
        ("12|00|2007", "2007"),
        ("**|**|2007", "2007"),
        ("2007-11-00", "2007-11"),
        ("2007-11", "2007-11"),
        ("2007", "2007"),
        ("29|02|2004", "2004-02-29"),
    ],
)
def test_a_date_is_read_as_far_as_it_is_known(written: str, meant: str) -> None:
    assert birth_date_of(written, TODAY) == meant


@pytest.mark.parametrize(
    ("written", "kind"),
    [
        ("", Kind.BIRTH_DATE_UNKNOWN),
        ("-", Kind.BIRTH_DATE_UNKNOWN),
        ("27|11|0000", Kind.BIRTH_DATE_UNKNOWN),
        ("27|11|****", Kind.BIRTH_DATE_UNKNOWN),
        ("**|**|****", Kind.BIRTH_DATE_UNKNOWN),
        ("00|00|0000", Kind.BIRTH_DATE_UNKNOWN),
        ("0000-00-00", Kind.BIRTH_DATE_UNKNOWN),
        ("29|02|2007", Kind.BIRTH_DATE_NONE),
        ("32|01|2007", Kind.BIRTH_DATE_NONE),
        ("31|13|2007", Kind.BIRTH_DATE_NONE),
        ("11/27/2007", Kind.BIRTH_DATE_MONTH_FIRST),
        ("27|11|07", Kind.BIRTH_DATE_FORM),
        ("27|11-2007", Kind.BIRTH_DATE_FORM),
        ("27 November 2007", Kind.BIRTH_DATE_FORM),
        ("39413", Kind.BIRTH_DATE_FORM),
        ("27|11|19**", Kind.BIRTH_DATE_FORM),
        ("٢٧|١١|٢٠٠٧", Kind.BIRTH_DATE_FORM),
        ("02|07|2024", Kind.BIRTH_DATE_FUTURE),
        ("2024", Kind.BIRTH_DATE_FUTURE),
    ],
)
def test_a_date_that_is_unknown_or_wrong_is_refused_and_never_invented(
    written: str, kind: Kind
) -> None:
    assert birth_date_of(written, TODAY) == Fault(kind)


@pytest.mark.parametrize(
    ("village", "district", "code"),
    [
        ("15.01.01.2001", "", "15.01.01.2001"),
        ("1501012001", "", "15.01.01.2001"),
        ("1501012001.0", "150101.0", "15.01.01.2001"),
        ("1501012001", "15.01.01", "15.01.01.2001"),
        ("2001", "150101", "15.01.01.2001"),
        ("2001", "15.01.01", "15.01.01.2001"),
        ("1501012001", "GUNUNG RAYA", "15.01.01.2001"),
        ("31.74.01.1001", "", "31.74.01.1001"),
    ],
)
def test_a_village_is_known_by_its_code_however_it_is_written(
    village: str, district: str, code: str
) -> None:
    assert village_of(village, district, recode=False) == code


@pytest.mark.parametrize(
    ("village", "district", "kind"),
    [
        ("", "150101", Kind.MISSING),
        ("-", "", Kind.MISSING),
        ("Koto Tengah", "150101", Kind.VILLAGE_FORM),
        ("2001", "", Kind.VILLAGE_FORM),
        ("2001", "GUNUNG RAYA", Kind.VILLAGE_FORM),
        ("1501019999", "", Kind.VILLAGE_UNKNOWN),
        ("1501012001", "150102", Kind.VILLAGE_ELSEWHERE),
    ],
)
def test_a_village_without_a_code_of_the_national_list_is_refused(
    village: str, district: str, kind: Kind
) -> None:
    assert village_of(village, district, recode=False) == Fault(kind)


def test_an_old_code_is_refused_with_the_new_one_named_and_replaced_on_request() -> None:
    assert village_of("1501022009", "", recode=False) == Fault(Kind.VILLAGE_OLD, "15.01.22.2011")
    assert village_of("1501022009", "", recode=True) == "15.01.22.2011"
    assert village_of("1501022009", "150102", recode=True) == "15.01.22.2011"
    assert village_of("1501022009", "150122", recode=True) == "15.01.22.2011"


def test_no_old_code_has_been_given_to_another_village() -> None:
    assert not new_codes().keys() & village_codes()
    assert set(new_codes().values()) <= village_codes()


@pytest.mark.parametrize("written", ["1501012711070001", " '1501012711070001", "`1501012711070001"])
def test_a_nik_may_have_a_spreadsheets_apostrophe(written: str) -> None:
    assert nik_of(written) == "1501012711070001"


@pytest.mark.parametrize(
    ("written", "kind"),
    [
        ("-", Kind.MISSING),
        ("1,50101E+15", Kind.NIK_NOTATION),
        ("1.50101271107E+15", Kind.NIK_NOTATION),
        ("2E15", Kind.NIK_NOTATION),
        ("1501012711070000.0", Kind.NIK_NUMBER),
        ("2222222222222222", Kind.NIK_FORM),
        ("150101271107", Kind.NIK_FORM),
        ("1501012711070000", Kind.NIK_FORM),
    ],
)
def test_a_nik_that_a_spreadsheet_has_damaged_is_refused(written: str, kind: Kind) -> None:
    fault = nik_of(written)
    assert isinstance(fault, Fault)
    assert fault.kind is kind


def test_a_name_is_what_the_registry_takes_as_one() -> None:
    assert name_of("  Siti ") == "Siti"
    assert name_of("-") == Fault(Kind.MISSING)
    assert name_of("A\x07B") == Fault(Kind.NAME_FORM)
    assert name_of("x" * 201) == Fault(Kind.NAME_FORM)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("1501012711070001", "1501************"),
        ("WARGA CONTOH", "W***********"),
        ("31|02|1990", "31|02|19**"),
        ("15.01.01.9999", "15.01.01.9999"),
        ("1501019999", "1501019999"),
        ("X", "X"),
        ("1,50101E+15", "1,50***E+15"),
        ("", ""),
    ],
)
def test_a_value_is_shown_masked(value: str, shown: str) -> None:
    assert masked(value) == shown


@given(st.text(alphabet="0123456789 .,E+|-*abc", max_size=60))
def test_no_masked_value_tells_more_than_ten_digits(value: str) -> None:
    assert sum(letter.isdigit() for letter in masked(value)) <= 10


@given(st.lists(st.integers(1, 300), max_size=400))
def test_the_table_of_niks_remembers_the_first_row_of_each(niks: list[int]) -> None:
    seen, expected = NiksSeen(), dict[int, int]()
    for row, nik in enumerate(niks, 1):
        assert seen.first_row(nik * 10**13 + 7, row) == expected.get(nik)
        expected.setdefault(nik, row)


def test_the_table_of_niks_grows() -> None:
    seen = NiksSeen()
    for row in range(1, 200_001):
        assert seen.first_row(1501012711070000 + row, row) is None
    assert [seen.first_row(1501012711070000 + row, 0) for row in (1, 77_777, 200_000)] == [
        1,
        77_777,
        200_000,
    ]
