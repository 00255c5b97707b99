"""`python -m tests.e2e.corruptions`: plants every corruption in a copy of a small system and shows
the line in which `cacah verify` names it. Ends with 1 if one is not found, or not named."""

import sys

from tests.support.corruptions import CORRUPTIONS, found
from tests.support.verified import left_system


def main() -> None:
    missed = 0
    with left_system() as left:
        told = left.verify()
        print("\n".join(told.lines), told.complaint, flush=True)
        missed += told.status != 0
        for number, corruption in enumerate(CORRUPTIONS, start=1):
            is_found, faults = found(corruption, left)
            missed += not is_found
            sign = "✓" if is_found else "✗ NOT NAMED"
            print(f"{sign} {number}. {corruption.name}", flush=True)
            for fault in faults:
                print(f"      {fault}", flush=True)
    print(f"{len(CORRUPTIONS)} corruptions, {missed} missed")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
