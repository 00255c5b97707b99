"""Bad input: each bad row is named, and never spoils the next."""

import os
import zipfile
import zlib
from pathlib import Path

import pytest

from cli.importing.layouts import ColumnMapping, Form, read_mapping
from cli.importing.stopping import ImportStoppedError
from shared.lists import workbooks
from shared.lists.opening import open_source
from shared.lists.rows import UnreadableListError
from tests.support.import_files import (
    HEADER,
    VILLAGE,
    dp4_line,
    line,
    nik,
    read,
    workbook,
    written,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "penduduk.csv"


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_csv_may_have_any_usual_delimiter_and_line_end(
    path: Path, delimiter: str, end: str
) -> None:
    header = HEADER.replace(",", delimiter)
    rows = [line(number, delimiter) for number in (1, 2, 3)]
    assert read(written(path, header, *rows, end=end)).counts == (3, 0)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_a_csv_may_be_unicode_with_and_without_a_mark(path: Path, encoding: str) -> None:
    rows = [line(1, name="Ibu Zoë"), line(2, name="“Andi”")]
    found = read(written(path, HEADER, *rows, encoding=encoding))
    assert (found.counts, found.notes) == ((2, 0), [])


def test_a_line_that_is_not_utf_8_is_read_as_windows_1252(path: Path) -> None:
    head = f"{HEADER}\n{line(1, name='Zoë')}\n".encode()
    path.write_bytes(head + line(2, name="Renée").encode("cp1252") + b"\n")
    found = read(path)
    assert found.counts == (2, 0)
    assert found.notes == ["1 lines are not UTF-8 and were read as Windows-1252"]
    names = [row.cells[1] for row in open_source(path).rows()][1:]
    assert names == ["Zoë", "Renée"]


def test_a_nul_byte_and_a_byte_of_no_letter_refuse_their_row_alone(path: Path) -> None:
    lines = [HEADER, line(1), line(2, name="A\0B"), line(3)]
    path.write_bytes("\n".join(lines).encode() + b"\n" + line(4).encode() + b"\x81\xff\n")
    found = read(path)
    assert found.counts == (2, 2)
    assert [problem.partition(":")[0] for problem in found.told] == [
        "row 3, the row",
        "row 5, the row",
    ]
    assert "NUL" in found.told[0]


def test_ragged_rows_are_refused_with_their_number_of_cells(path: Path) -> None:
    found = read(written(path, HEADER, line(1), line(2) + ",more", nik(3), line(4), line(5) + ",,"))
    assert found.counts == (3, 2)
    assert "row 3, the row: has 7 cells where there are 6 columns" in found.told[0]
    assert "row 4, the row: has 1 cells" in found.told[1]


def test_blank_rows_are_passed_over_and_counted_by_number(path: Path) -> None:
    found = read(written(path, HEADER, "", ",,,,,", line(1, sex="X"), "  ", line(2)))
    assert found.counts == (1, 1)
    assert found.told == [
        "row 4, jenis_kelamin (X): must be L or P; give other words in a mapping file"
    ]


def test_a_quoted_cell_may_hold_delimiters_quotes_and_line_ends(path: Path) -> None:
    names = ['"CONTOH, SH"', '"dua\nbaris"', '"si ""Kecil"""', 'D"AR"I']
    rows = [line(number, name=name) for number, name in enumerate(names, 1)]
    found = read(written(path, HEADER, rows[0], line(9), rows[2], rows[3]))
    assert found.counts == (4, 0)
    found = read(written(path, HEADER, rows[1], line(9, sex="X")))
    assert found.told[0].startswith("row 2, nama")
    assert found.told[1].startswith("row 4, jenis_kelamin")


@pytest.mark.parametrize("quoted", [False, True])
def test_a_quotation_mark_left_open_does_not_swallow_the_rest(path: Path, quoted: bool) -> None:
    def row(number: int) -> str:
        cells = line(number).split(",")
        return ",".join(f'"{cell}"' for cell in cells) if quoted else ",".join(cells)

    opened = row(5).replace("WARGA CONTOH 5" + ('"' if quoted else ""), '"WARGA CONTOH 5', 1)
    opened = opened.replace('""', '"')
    rows = [row(number) for number in range(1, 100)]
    rows[4] = opened
    found = read(written(path, HEADER, *rows))
    assert found.counts == (98, 1)
    assert found.told == [
        "row 6, the row: has a quotation mark that is not closed; close it or take it out"
    ]


def test_an_open_quotation_mark_before_a_quoted_row_spoils_only_its_own(path: Path) -> None:
    rows = [line(1, name='"SATU'), line(2, name='"DUA"'), line(3, name='"TIGA'), line(4)]
    found = read(written(path, HEADER, *rows))
    assert found.counts == (2, 2)


def test_a_line_without_end_is_no_row(path: Path) -> None:
    found = read(written(path, HEADER, line(1), "x" * 200_000, line(2)))
    assert found.counts == (2, 1)
    assert found.told[0].startswith("row 3, the row: is longer than")


def test_a_dp4_file_is_recognised_and_read_without_a_header(tmp_path: Path) -> None:
    path = written(
        tmp_path / "dp4.txt",
        dp4_line(1),
        dp4_line(2, birth_date="00|00|1950", address='JL. "BARU", 3'),
        dp4_line(3, birth_date="**|**|****"),
        dp4_line(4, district="15.01.01", village="2001"),
        dp4_line(5) + "#",
    )
    for form in (None, Form.DP4):
        found = read(path, form=form)
        assert found.counts == (4, 1)
        (told,) = found.told
        assert told.startswith("row 3, tanggal_lahir (**|**|****): is unknown; it is never")


def test_a_sidalih_file_needs_the_code_of_its_village(tmp_path: Path) -> None:
    row = f"1,1501010101100001,{nik(1)},WARGA,KERINCI,27|11|2007,P,S,DUSUN I,001,002,0,001"
    head = "id,nkk,nik,nama,tempat_lahir,tanggal_lahir,jenis_kelamin,kawin,alamat,rt,rw,difabel,tps"
    with pytest.raises(ImportStoppedError, match="--village"):
        read(written(tmp_path / "a.csv", row), form=Form.SIDALIH)
    assert read(tmp_path / "a.csv", form=Form.SIDALIH, village=VILLAGE).counts == (1, 0)
    with_header = written(tmp_path / "b.csv", head, row)
    assert read(with_header, form=Form.SIDALIH, village=VILLAGE).counts == (1, 0)


def test_a_mapping_file_names_columns_words_and_constants(tmp_path: Path) -> None:
    mapping_file = tmp_path / "map.toml"
    mapping_file.write_text(
        f"""
        [columns]
        nik = "No. Induk"
        name = 2
        service = "Pekerjaan"
        [values.sex]
        "1" = "L"
        [values.service]
        "ANGGOTA TNI" = "tni"
        "*" = "none"
        [constants]
        village = "{VILLAGE}"
        """
    )
    path = written(
        tmp_path / "a.csv",
        "No. Induk;Yang bersangkutan;JK;Tgl Lahir;Status Perkawinan;Pekerjaan",
        f"{nik(1)};SATU;1;27-11-2007;Belum Kawin;Petani",
        f"{nik(2)};DUA;Perempuan;27-11-2007;CERAI MATI;anggota tni",
        f"{nik(3)};TIGA;2;27-11-2007;Kawin;",
    )
    found = read(path, mapping=read_mapping(mapping_file))
    assert found.counts == (2, 1)
    assert found.told[0].startswith("row 4, JK (2): must be L or P")


def test_a_mapping_by_numbers_reads_a_file_without_a_header(path: Path) -> None:
    numbers = {"nik": 1, "name": 2, "sex": 3, "birth_date": 4, "marital_status": 5, "village": 6}
    mapping = ColumnMapping(header=False, columns=dict(numbers))
    assert read(written(path, line(1), line(2)), mapping=mapping).counts == (2, 0)


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("[columns]\nnik = ", "is not TOML"),
        ('[columns]\nnick = "x"', "'nick', which is not one of"),
        ('[constants]\nage = "17"', "'age', which is not one of"),
        ('[column]\nnik = "x"', "column: extra inputs"),
        ('[columns]\nnik = "x"', "no such title"),
        ("[columns]\nnik = 9", "the file has 6"),
        ('[values.sex]\nx = "M"', "sex is one of L, P"),
    ],
)
def test_a_wrong_mapping_is_refused_in_a_sentence(tmp_path: Path, toml: str, said: str) -> None:
    mapping_file = tmp_path / "map.toml"
    mapping_file.write_text(toml)
    path = written(tmp_path / "a.csv", HEADER, line(1))
    with pytest.raises(ImportStoppedError, match=said):
        read(path, mapping=read_mapping(mapping_file))


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("satu,dua,tiga", "no header that is known"),
        (line(1), "no header that is known"),
        ("nik,nama,desa", "no column was found for sex .jenis_kelamin."),
        (HEADER + ",NIK", "columns 1 and 7 both look like nik"),
    ],
)
def test_a_header_that_does_not_tell_enough_is_refused_without_telling_a_value(
    path: Path, header: str, said: str
) -> None:
    with pytest.raises(ImportStoppedError, match=said) as refused:
        read(written(path, header, line(1)))
    assert nik(1) not in str(refused.value)


def test_a_workbook_is_read_as_text_and_a_nik_kept_as_a_number_is_refused(tmp_path: Path) -> None:
    head: list[str | int | float] = [*HEADER.split(",")]
    village = 1501012001
    rows: list[list[str | int | float]] = [
        head,
        [nik(1), "SATU", "L", "27|11|2007", "B", village],
        [1501012711070020, "DUA", "L", "2007-11-27", "B", VILLAGE],
        [1.50101271107e15, "TIGA", "L", "2007-11-27", "B", VILLAGE],
        ["", "", "", "", "", ""],
        [nik(4), "EMPAT", "L", 2007, "B", VILLAGE],
    ]
    found = read(workbook(tmp_path / "a.xlsx", rows))
    assert found.counts == (2, 2)
    assert [problem[:10] for problem in found.told] == ["row 3, nik", "row 4, nik"]
    assert all("format the column as text" in problem for problem in found.told)
    assert found.notes == ["rows are those of the sheet 'Penduduk'"]
    assert found.refused == tmp_path / "a.refused.csv"


def test_a_file_that_is_no_table_is_refused_in_a_sentence(tmp_path: Path) -> None:
    zipped = tmp_path / "a.xlsx"
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("penduduk.csv", HEADER)
    cut = tmp_path / "cut.xlsx"
    cut.write_bytes(workbook(tmp_path / "whole.xlsx", [["nik"]]).read_bytes()[:300])
    old = tmp_path / "old.xls"
    old.write_bytes(bytes.fromhex("d0cf11e0a1b11ae1") + b"\0" * 100)
    empty = written(tmp_path / "empty.csv")
    blank = written(tmp_path / "blank.csv", "", "  ")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, said in (
        (zipped, "no XLSX workbook"),
        (cut, "cut off or damaged"),
        (old, "old .xls"),
        (empty, "is empty"),
        (blank, "is empty"),
        (workbook(tmp_path / "none.xlsx", []), "is empty"),
        (pipe, "a pipe or a device"),
        (tmp_path, "is a directory"),
        (tmp_path / "absent.csv", "there is no file"),
        (tmp_path / ("x" * 300), "cannot be read"),
    ):
        with pytest.raises(UnreadableListError, match=said):
            open_source(path)


@pytest.mark.parametrize("said_bytes", [2**22, 10])
def test_a_small_zip_that_unpacks_to_a_huge_sheet_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said_bytes: int
) -> None:
    monkeypatch.setattr(workbooks, "MAX_UNPACKED_BYTES", 2**20)
    path = workbook(tmp_path / "bomb.xlsx", [["nik"]])
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/sharedStrings.xml", b"0" * 2**22)
        # What is written of its size may be a lie, and its check sum fit the lie.
        part = archive.infolist()[-1]
        part.file_size, part.CRC = said_bytes, zlib.crc32(b"0" * said_bytes)
    with pytest.raises(UnreadableListError, match="unpacks to more than"):
        open_source(path)
