"""Changes the rules in a thousand small ways and counts how many the tests notice.

`python -m tests.mutants` runs mutmut as `pyproject.toml` says, prints the rate of each `domain/`
folder and what every mutant that lived had changed, and fails below 95 %. `docs/mutants.md` says
why those that live are equivalent. Names of mutants as arguments, with `*`, test these alone.
"""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

LEAST_KILLED = 0.95
MUTANTS = Path("mutants")

# What mutmut writes down of each mutant: how the tests ended. Anything that is not listed, such as
# a mutant that ran out of time, was noticed.
NOT_TRIED = None
LIVED = (0, 33)  # the tests passed, or none came by


def verdicts(folder: Path) -> dict[str, int | None]:
    """How the tests of each mutant in a folder ended."""
    ends: dict[str, int | None] = {}
    for meta in sorted(folder.glob("*.meta")):
        ends |= json.loads(meta.read_text())["exit_code_by_key"]
    return {name: end for name, end in ends.items() if end is not NOT_TRIED}


def shown(name: str) -> str:
    """The lines that a mutant changes."""
    told = subprocess.run(
        (sys.executable, "-m", "mutmut", "show", name), capture_output=True, text=True, check=True
    )
    changed = [line for line in told.stdout.splitlines() if line[:1] in ("-", "+")]
    return "\n".join(line for line in changed if not line.startswith(("---", "+++")))


def main() -> int:
    """Run mutmut and report. The exit code."""
    command = (sys.executable, "-m", "mutmut", "run", "--max-children", "2", *sys.argv[1:])
    subprocess.run(command, check=False)
    total: Counter[str] = Counter()
    for folder in sorted(MUTANTS.glob("services/*/domain")):
        ends = verdicts(folder)
        lived = [name for name, end in ends.items() if end in LIVED]
        total.update(all=len(ends), lived=len(lived))
        for name in lived:
            print(f"\n{name}\n{shown(name)}")
        print(f"\n{folder.relative_to(MUTANTS)}: {len(ends) - len(lived)} of {len(ends)} killed\n")
    if not total["all"]:
        print("No mutant was tried.")
        return 1
    killed = 1 - total["lived"] / total["all"]
    print(f"{killed:.1%} of {total['all']} mutants killed; at least {LEAST_KILLED:.0%} must be.")
    return 0 if killed >= LEAST_KILLED else 1


if __name__ == "__main__":
    sys.exit(main())
