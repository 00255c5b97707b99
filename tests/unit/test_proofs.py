"""The demo's proofs fail when something is wrong: each kind of loss and doubling is found."""

from typing import Any

from cli.counting import Expectation, expect
from cli.kpu_book import Book
from cli.proofs import LogAudit, proof_of_account, proof_of_changes, proof_of_tallies
from cli.sample import residents
from cli.sending import ACCEPTED, PARKED, REJECTED, UNKNOWN, Account

OUTCOMES = {"KRC-01": bytes([UNKNOWN, ACCEPTED, PARKED, REJECTED])}
COUNTS = {"answered": 4, "accepted": 1, "parked": 1, "rejected": 1, "duplicate": 1}


def entry(position: int, sequence: int) -> dict[str, Any]:
    return {
        "position": position,
        "source": "urn:dukcapil:station:KRC-01",
        "id": f"KRC-01-{sequence:07}",
    }


def expectation() -> Expectation:
    expected = expect([])
    expected.sent, expected.accepted, expected.duplicates, expected.rejected = 4, 2, 1, 1
    return expected


def audit(*entries: dict[str, Any]) -> LogAudit:
    read = LogAudit(OUTCOMES)
    read.read(entries)
    return read


def faults_of_account(*entries: dict[str, Any], **counts: int) -> tuple[str, ...]:
    return proof_of_account(expectation(), COUNTS | counts, audit(*entries)).faults


def test_equal_tallies_are_a_proof() -> None:
    expected = expect(residents(300, 1))
    assert proof_of_tallies(expected, expected.tallies).holds


def test_one_wrong_number_is_found() -> None:
    expected = expect(residents(300, 1))
    counted = {code: dict(tally) for code, tally in expected.tallies.items()}
    counted["15.01.16.2001"]["ikd_active"] += 1
    proof = proof_of_tallies(expected, counted)
    assert len(proof.faults) == 1
    assert "15.01.16.2001 ikd_active" in proof.faults[0]


def test_a_village_without_a_row_is_found() -> None:
    expected = expect([])
    counted = dict(list(expected.tallies.items())[1:])
    assert proof_of_tallies(expected, counted).faults == ("no row for 15.01.01.1004",)


def test_a_change_that_kpu_did_not_get_is_found() -> None:
    expected = expect(residents(300, 1))
    assert not proof_of_changes(Book(), expected.tallies).holds


def test_a_log_with_each_accepted_event_once_is_a_proof() -> None:
    assert not faults_of_account(entry(1, 2), entry(2, 1))


def test_an_accepted_event_that_is_not_in_the_log_is_found() -> None:
    assert "KRC-01-0000002: not in the log" in faults_of_account(entry(1, 1))


def test_a_refused_event_in_the_log_is_found() -> None:
    faults = faults_of_account(entry(1, 1), entry(2, 2), entry(3, 3))
    assert "KRC-01-0000003: in the log though refused" in faults


def test_an_event_twice_in_the_log_is_found() -> None:
    faults = faults_of_account(entry(1, 1), entry(2, 2), entry(3, 2))
    assert "KRC-01-0000002 is in the log twice" in faults


def test_a_gap_in_the_positions_is_found() -> None:
    assert "position 3 follows 1" in faults_of_account(entry(1, 1), entry(3, 2))


def test_an_event_without_an_answer_is_found() -> None:
    faults = faults_of_account(entry(1, 1), entry(2, 2), duplicate=0, answered=3)
    assert "4 were to be sent, 3 answered" in faults


def test_a_lost_answer_found_again_on_repeating_counts_as_the_first_outcome() -> None:
    account = Account()
    event = {"id": "KRC-01-0000001", "stationseq": 1}
    repeated = {"id": event["id"], "outcome": "duplicate", "first_outcome": "parked"}
    account.enter([event, event], [repeated, repeated])
    assert dict(account.counts) == {"answered": 2, "parked": 1, "duplicate": 1}
