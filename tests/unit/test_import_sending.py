"""`cacah import` as a person runs it, against the registry's rules behind a door that fails."""

import csv
import itertools
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cli.importing import delivering, door
from cli.importing.command import COULD_NOT_RUN, INTERRUPTED
from cli.main import main
from services.registry.domain.submissions import Arrival, WellFormed, arrive
from shared.events.facts import ResidentRegistered
from tests.support.import_door import (
    AWAY,
    BUSY,
    CUT_OFF,
    FORBIDDEN,
    LOST,
    TOKEN,
    ImportDoor,
    import_door,
)
from tests.support.import_files import HEADER, dp4_line, line, nik, written


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[ImportDoor]:
    monkeypatch.setenv("CACAH_TOKEN", TOKEN)
    monkeypatch.setattr(door, "FIRST_WAIT_S", 0.001)
    with import_door() as running:
        yield running


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return written(tmp_path / "penduduk.csv", HEADER, *(line(number) for number in range(1, 96)))


def run(file: Path, opened: ImportDoor, *more: str) -> Result:
    """`cacah import FILE` for the station KRC-01; later options win."""
    place = ["--home", str(file.parent / "home"), "--registry", opened.url]
    arguments = ["import", str(file), "--station", "KRC-01", "--batch", "10", *place, *more]
    return CliRunner().invoke(main, arguments)


def sent_niks(opened: ImportDoor) -> list[str]:
    return [event["data"]["nik"] for batch in opened.batches for event in batch]


def refused_rows(path: Path, delimiter: str = ",") -> list[list[str]]:
    with path.open(encoding="utf-8-sig", newline="") as lines:
        return list(csv.reader(lines, delimiter=delimiter))


def test_every_row_becomes_a_well_formed_event_of_the_station(
    file: Path, opened: ImportDoor
) -> None:
    done = run(file, opened)
    assert done.exit_code == 0, done.output
    assert "95 rows: 95 can be sent, 0 are refused." in done.output
    assert "95 accepted" in done.output
    assert sorted(sent_niks(opened)) == [nik(number) for number in range(1, 96)]
    for event in itertools.chain(*opened.batches):
        assert event["source"] == "urn:dukcapil:station:KRC-01"
        assert event["data"]["nik"] not in event["id"]
        arrived = arrive(event, True, str.encode)
        assert isinstance(arrived, Arrival)
        assert isinstance(arrived.checked, WellFormed)


def test_importing_again_doubles_nothing(file: Path, opened: ImportDoor) -> None:
    run(file, opened)
    again = run(file, opened)
    assert again.exit_code == 0
    assert "0 accepted, 95 were there already" in again.output
    assert len(opened.log) == 95


def test_what_gets_no_answer_is_sent_again(file: Path, opened: ImportDoor) -> None:
    opened.moods.extend([LOST, AWAY, BUSY, CUT_OFF, LOST, AWAY, AWAY])
    done = run(file, opened)
    assert done.exit_code == 0, done.output
    assert len(opened.log) == 95
    assert "waiting for the registry" in done.output


def test_an_import_that_was_stopped_goes_on(file: Path, opened: ImportDoor) -> None:
    opened.moods.extend([""] * 5 + [FORBIDDEN])
    stopped = run(file, opened)
    assert stopped.exit_code == COULD_NOT_RUN
    assert "may not send for this station" in stopped.output
    assert 0 < len(opened.log) < 95
    opened.batches.clear()
    done = run(file, opened)
    assert done.exit_code == 0
    assert "going on after row" in done.output
    assert len(opened.batches[0]) == 1, "the last row acknowledged is asked about first"
    assert len(sent_niks(opened)) < 95
    assert len(opened.log) == 95


def test_an_import_that_went_on_into_another_registry_begins_anew(
    file: Path, opened: ImportDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened.moods.extend([""] * 5 + [FORBIDDEN])
    run(file, opened)
    with import_door() as other:
        opened.registry = other.registry
    assert run(file, opened).exit_code == 0
    assert len(opened.log) == 95


def test_rows_refused_by_the_registry_join_those_refused_before(
    file: Path, opened: ImportDoor
) -> None:
    written(file, HEADER, line(1), line(2, sex="X"), line(3), line(1, name="ORANG LAIN"))
    other = written(file.parent / "other.csv", HEADER, line(3, name="ORANG KETIGA"))
    assert run(other, opened).exit_code == 0
    done = run(file, opened)
    assert done.exit_code == 1
    assert "1 × already-registered" in done.output
    path = file.parent / "penduduk.refused.csv"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    header, *rows = refused_rows(path)
    assert header == [*HEADER.split(","), "cacah: reason"]
    assert [row[-1].partition(";")[0] for row in rows] == [
        "cacah: row 3: jenis_kelamin must be L or P",
        "cacah: row 5: nik is that of row 2 already",
        "cacah: row 4: data.nik is registered already",
    ]
    assert rows[0][:-1] == line(2, sex="X").split(",")


def test_a_second_run_tells_the_same_refusals_and_replaces_its_own_file(
    file: Path, opened: ImportDoor
) -> None:
    written(file, HEADER, *(line(number) for number in range(1, 40)))
    run(written(file.parent / "other.csv", HEADER, line(3, name="ORANG LAIN")), opened)
    assert run(file, opened).exit_code == 1
    before = (file.parent / "penduduk.refused.csv").read_bytes()
    again = run(file, opened)
    assert again.exit_code == 1
    assert "0 accepted, 38 were there already, 1 refused" in again.output
    assert (file.parent / "penduduk.refused.csv").read_bytes() == before
    assert not (file.parent / "penduduk.refused-2.csv").exists()


def test_refusals_of_before_the_stop_are_told_after_it(file: Path, opened: ImportDoor) -> None:
    run(written(file.parent / "other.csv", HEADER, line(3, name="ORANG LAIN")), opened)
    opened.moods.extend([""] * 5 + [FORBIDDEN])
    assert run(file, opened).exit_code == COULD_NOT_RUN
    assert run(file, opened).exit_code == 1
    rows = refused_rows(file.parent / "penduduk.refused.csv")
    assert [row[0] for row in rows] == ["nik", nik(3)]


def test_a_mended_file_of_refused_rows_is_imported_and_never_written_over(
    file: Path, opened: ImportDoor
) -> None:
    written(file, HEADER, line(1), line(2, sex="X"))
    assert run(file, opened).exit_code == 1
    mended = file.parent / "penduduk.refused.csv"
    mended.write_text(mended.read_text().replace(",X,", ",L,"))
    assert run(file, opened).exit_code == 1
    assert (file.parent / "penduduk.refused-2.csv").exists()
    assert run(mended, opened).exit_code == 0
    assert len(opened.log) == 2


def test_refused_rows_that_were_not_mended_are_refused_again(
    file: Path, opened: ImportDoor
) -> None:
    rows = [line(1, name='"SATU'), line(2).rpartition(",")[0], line(3) + ",S,x", line(4, sex="-")]
    written(file, HEADER + ",ktp_el", *(f"{row},S" for row in rows[:1]), *rows[1:])
    assert "4 are refused" in run(file, opened).output
    again = run(file.parent / "penduduk.refused.csv", opened)
    assert "0 can be sent, 4 are refused" in again.output
    assert (file.parent / "penduduk.refused-2.csv").exists()
    assert not opened.log


def test_a_mended_file_of_the_same_name_sends_its_other_rows_under_the_same_ids(
    file: Path, opened: ImportDoor
) -> None:
    run(written(file, HEADER, line(1), line(2, sex="X")), opened)
    done = run(written(file, HEADER, line(1), line(2)), opened)
    assert done.exit_code == 0
    assert "1 accepted, 1 were there already, 0 refused" in done.output


def test_refused_rows_of_a_dp4_file_are_a_dp4_file(tmp_path: Path, opened: ImportDoor) -> None:
    file = written(
        tmp_path / "dp4.txt", dp4_line(1), dp4_line(2, sex="L#", note="x"), dp4_line(3, sex="X")
    )
    assert run(file, opened).exit_code == 1
    mended = tmp_path / "dp4.refused.txt"
    first, second = mended.read_text(encoding="utf-8-sig").splitlines()
    assert first.rpartition("#")[2].startswith("cacah: row 2: the row has 20 cells")
    mended.write_text(f"{first.replace('#L##B#', '#L#B#')}\n{second.replace('#X#', '#L#')}\n")
    assert run(mended, opened).exit_code == 0
    assert len(opened.log) == 3


def test_recordings_are_sent_on_request_after_their_registration(
    tmp_path: Path, opened: ImportDoor
) -> None:
    rows = [f"{line(number)},{'SB'[number % 2]}" for number in range(1, 41)]
    file = written(tmp_path / "a.csv", f"{HEADER},ktp_el", *rows)
    assert "20 have the e-KTP; with --recordings" in run(file, opened).output
    assert len(opened.log) == 40
    assert run(file, opened, "--recordings").exit_code == 0
    assert len(opened.log) == 60
    registered = {
        entry.logged.resident_id
        for entry in opened.log
        if isinstance(entry.logged.fact, ResidentRegistered)
    }
    assert len(registered) == 40


def test_the_day_of_the_list_makes_ids_that_outlive_everything_kept(
    file: Path, opened: ImportDoor
) -> None:
    assert run(file, opened, "--recorded-on", "2024-05-02").exit_code == 0
    assert {event["time"] for batch in opened.batches for event in batch} == {
        "2024-05-02T00:00:00+07:00"
    }
    for kept in (file.parent / "home" / "imports").iterdir():
        kept.unlink()
    again = run(file, opened, "--recorded-on", "2024-05-02")
    assert "95 were there already" in again.output


def test_a_dry_run_sends_nothing_and_writes_no_progress(file: Path, opened: ImportDoor) -> None:
    written(file, HEADER, line(1), line(2, birth_date="00|00|0000"))
    done = run(file, opened, "--dry-run", "--list-all")
    assert done.exit_code == 1
    assert "row 3, tanggal_lahir (00|00|00**): is unknown; it is never invented" in done.output
    assert not opened.batches
    assert not (file.parent / "home").exists()
    assert (file.parent / "penduduk.refused.csv").exists()


def test_what_is_shown_holds_no_nik_and_no_name(file: Path, opened: ImportDoor) -> None:
    shifted = ",".join(line(2).split(",")[-1:] + line(2).split(",")[:-1])
    twice = line(1, name="ORANG LAIN")
    written(file, HEADER, line(1), shifted, twice, line(4, village="Desa Contoh"), '"' + line(5))
    done = run(file, opened, "--list-all")
    assert done.exit_code == 1
    assert not any(nik(number) in done.output for number in range(1, 6))
    assert "ORANG LAIN" not in done.output
    assert "CONTOH" not in done.output
    for kept in (file.parent / "home" / "imports").iterdir():
        assert "CONTOH" not in kept.read_text()
        assert nik(1)[:8] not in kept.read_text()
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--registry", "http://127.0.0.1:1"], "no registry answers"),
        (["--registry", "nonsense"], "no registry answers"),
        (["--station", "KRC 01"], "--station must be"),
        (["--village", "1501019999"], "--village"),
        (["--recorded-on", "kemarin"], "YYYY-MM-DD"),
        (["--recorded-on", "2999-01-01"], "after today"),
        (["--token-file", "/absent"], "no token"),
        (["--mapping", "/absent"], "cannot be read"),
        (["--refused", "/absent/a.csv"], "--refused"),
        (["--token-file", "{file}"], "token is not valid"),
    ],
)
def test_what_hinders_is_said_in_one_sentence(
    file: Path, opened: ImportDoor, more: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "--registry" in more:
        monkeypatch.setattr(door, "REACHED_WITHIN_S", 0.01)
    other = written(file.parent / "token", "another")
    done = run(file, opened, *(option.format(file=other) for option in more))
    assert done.exit_code == COULD_NOT_RUN, done.output
    assert said in done.output
    assert "Traceback" not in done.output
    assert not list(file.parent.glob(".*"))


def test_ctrl_c_ends_in_a_sentence(
    file: Path, opened: ImportDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(delivering, "enter", interrupt)
    done = run(file, opened)
    assert done.exit_code == INTERRUPTED
    assert "goes on where this ended" in done.output


def test_a_file_changed_on_the_way_stops_the_import(file: Path, opened: ImportDoor) -> None:
    opened.on_answer = lambda: written(file, HEADER)
    done = run(file, opened)
    assert done.exit_code == COULD_NOT_RUN
    assert "was changed while it was read" in done.output


def test_niks_that_all_end_in_zero_were_cut_by_a_spreadsheet(
    file: Path, opened: ImportDoor
) -> None:
    written(file, HEADER, *(line(10 * number) for number in range(1, 60)))
    done = run(file, opened)
    assert done.exit_code == COULD_NOT_RUN
    assert "every NIK in the file ends in 0" in done.output
    assert not opened.batches
