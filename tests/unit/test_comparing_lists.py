"""KPU's list on its way to the notifier: no NIK goes there, and every row keeps its number."""

import io
from collections.abc import Sequence
from pathlib import Path

import pytest

from cli.comparing.listing import (
    FaultyRowsError,
    ListedNik,
    Listing,
    is_by_nik,
    write_listing,
)
from services.notifier.lists import CountList, PersonList, read_list
from shared.lists.rows import UnreadableListError
from tests.support.import_files import dp4_line, nik, workbook, written

HERE, THERE = "15.01.01.2001", "15.01.05.2004"
PERSON = "00000000-0000-4000-8000-00000000000{}"


def residents(batch: Sequence[ListedNik]) -> list[str | None]:
    """Whoever has an odd NIK is known."""
    return [PERSON.format(each.nik[-1]) if int(each.nik[-1]) % 2 else None for each in batch]


def sent(path: Path) -> tuple[str, Listing]:
    """What goes to the notifier."""
    out = io.BytesIO()
    listing = write_listing(path, None, out, residents, lambda *_: None)
    return out.getvalue().decode(), listing


def read_by_the_notifier(path: Path, text: str) -> tuple[PersonList | CountList, list[str]]:
    at = path.with_name("sent")
    at.write_text(text)
    rows = io.BytesIO()
    return read_list(at, "15.01", None, rows), rows.getvalue().decode().splitlines()


def test_only_the_columns_that_are_compared_go_out_and_rows_keep_their_numbers(
    tmp_path: Path,
) -> None:
    path = written(
        tmp_path / "dpt.csv",
        "No.;Nama;ID Penduduk;Kode Desa;NIK Pemilih",
        f"1;ANI, SH;{PERSON.format(1)};{HERE};{nik(1)}",
        "",
        f'2;"BUDI\nSANTOSO";{PERSON.format(2)};{THERE};{nik(2)}',
        f"3;CICI;{PERSON.format(3)};{THERE};{nik(3)}",
    )
    text, listing = sent(path)
    assert listing.rows == 3
    assert nik(1) not in text
    assert "ANI" not in text
    read, rows = read_by_the_notifier(path, text)
    assert read == PersonList(3)
    assert rows == [
        f"2\t{PERSON.format(1)}\t{HERE}",
        f"4\t{PERSON.format(2)}\t{THERE}",
        f"6\t{PERSON.format(3)}\t{THERE}",
    ]


def test_a_list_by_nik_goes_out_by_resident(tmp_path: Path) -> None:
    path = written(
        tmp_path / "dpt.csv",
        "NIK,Nama,Kode Kelurahan",
        f"{nik(1)},ANI,{HERE}",
        f"{nik(2)},BUDI,{HERE}",
        f"{nik(3)},CICI,{THERE.replace('.', '')}",
    )
    assert is_by_nik(path, None)
    text, listing = sent(path)
    assert text.splitlines()[1:] == [
        f"{PERSON.format(1)},{HERE}",
        "",
        f"{PERSON.format(3)},{THERE}",
    ]
    assert [each.row for each in listing.unknown] == [3]
    assert (listing.rows, listing.shift) == (3, 0)


def test_a_dp4_file_without_a_header_is_a_list_by_nik(tmp_path: Path) -> None:
    text, listing = sent(written(tmp_path / "dp4.txt", dp4_line(1), dp4_line(3)))
    assert listing.shift == 1
    _, rows = read_by_the_notifier(tmp_path / "x", text)
    assert rows == [f"2\t{PERSON.format(1)}\t{HERE}", f"3\t{PERSON.format(3)}\t{HERE}"]


def test_counts_go_out_as_they_are(tmp_path: Path) -> None:
    path = workbook(
        tmp_path / "counts.xlsx",
        [["Desa", "Kode Desa", "Pemilih", "residents"], ["X", 1501012001, 512, 700]],
    )
    read, _ = read_by_the_notifier(path, sent(path)[0])
    assert read == CountList(("residents", "eligible"), {HERE: {"residents": 700, "eligible": 512}})


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (f"12345,X,{HERE}", "row 3, nik: must be 16 digits"),
        (f"1.5E+15,X,{HERE}", "row 3, nik: must be 16 digits"),
        (f"{nik(1)},X,{HERE}", "row 3, nik: is that of row 2 already"),
        (f"{nik(2)},X,15.01.99.2001", "row 3, village: is not in the national list"),
        (f"{nik(2)}", "row 3, village: is missing"),
        (f'{nik(2)},"X,{HERE}', "row 3: has a quotation mark"),
    ],
)
def test_a_row_by_nik_that_is_faulty_is_named_and_nobody_is_asked_for(
    tmp_path: Path, row: str, said: str
) -> None:
    path = written(tmp_path / "dpt.csv", "nik,nama,village", f"{nik(1)},X,{HERE}", row)

    def nobody(_: Sequence[ListedNik]) -> list[str | None]:
        raise AssertionError("the registry was asked")

    with pytest.raises(FaultyRowsError) as refused:
        write_listing(path, None, io.BytesIO(), nobody, lambda *_: None)
    (sentence,) = refused.value.sentences
    assert sentence.startswith(said)
    assert nik(2) not in sentence


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "nik\n1\n", "nik,no_nik,village\n"])
def test_a_list_whose_columns_are_not_known_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "list.csv"
    path.write_text(text)
    with pytest.raises(UnreadableListError):
        sent(path)
