"""What was found in a file and what became of it, in sentences."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from cli.importing.checking import Findings
from cli.importing.progress import Counts

Say = Callable[[str], None]

WARNINGS: Final = {
    "nik-mismatch": "have a NIK of another birth date or sex than the row says",
    "birth-date-incomplete": "have a birth date of which day or month is unknown",
    "clock-ahead": "bear a time that is ahead of the registry's clock",
}


def report_findings(say: Say, findings: Findings, notes: list[str], recordings: bool) -> None:
    """What the first reading found: totals, what is worth a look, and the problems by kind."""
    say(
        f"{findings.rows:,} rows: {findings.sendable:,} can be sent,"
        f" {findings.refused:,} are refused."
    )
    for note in notes:
        say(f"  {note}.")
    _say_recordings(say, findings.recorded, recordings)
    for warning, count in (
        ("nik-mismatch", findings.mismatches),
        ("birth-date-incomplete", findings.incomplete),
    ):
        if count:
            say(f"  {count:,} {WARNINGS[warning]}; they are accepted with a warning.")
    if findings.kinds:
        say("Problems, the most frequent first:")
    for place, count in findings.kinds.most_common():
        column, kind = place
        say(f"  {count:,} × {column}, {kind.label}")
        for example in findings.examples[place]:
            say(f"      {example}")


def _say_recordings(say: Say, recorded: int, recordings: bool) -> None:
    if recorded and recordings:
        say(f"  {recorded:,} have the e-KTP; their recordings are sent too.")
    elif recorded:
        say(f"  {recorded:,} have the e-KTP; with --recordings, that is sent too.")


def report_sent(say: Say, counts: Counts, seconds: float) -> None:
    """What the registry answered."""
    rows = counts.accepted + counts.already + counts.refused
    say(
        f"{rows:,} rows are sent ({seconds:.1f} s in this run): {counts.accepted:,} accepted,"
        f" {counts.already:,} were there already, {counts.refused:,} refused by the registry."
    )
    if counts.parked:
        say(f"  {counts.parked:,} events wait in the registry for a registration.")
    for warning, count in counts.warnings.most_common():
        say(f"  {count:,} {WARNINGS.get(warning, warning)}.")
    for problem, count in counts.problems.most_common():
        say(f"  {count:,} × {problem}")


def report_refused_file(say: Say, path: Path, count: int) -> None:
    say(
        f"The {count:,} refused rows are in {path}, each with its reason in the last column:"
        " mend them and import that file. It holds personal data; only you can read it."
    )
