"""The command `cacah`: joins the subcommands, each of which lives in a module of its own.

Only the one that is called is read, unless help is asked for: all of them take seconds to read.
"""

import os
import signal
import sys
from importlib import import_module
from typing import Any, Final

# Ctrl-C while the modules are still being read ends the program at once, without a traceback.
signal.signal(signal.SIGINT, signal.SIG_DFL)

import typer  # noqa: E402

COMMANDS: Final = {
    "up": "cli.up:up",
    "down": "cli.up:down",
    "demo": "cli.demo:demo",
    "import": "cli.importing.command:import_file",
    "as-of": "cli.as_of:as_of",
    "explain": "cli.explain:explain",
    "follow": "cli.following.command:follow",
    "listen": "cli.following.listening:listen",
    "republish": "cli.republish:republish",
    "replay": "cli.replay:replay",
    "verify": "cli.verifying.command:verify",
    "acknowledged": "cli.acknowledged:acknowledged",
    "compare": "cli.comparing.command:compare",
}
GROUPS: Final = {
    "supplement": "cli.comparing.supplement:app",
    "tokens": "cli.tokens:app",
    "parked": "cli.parked:app",
}

# They work for minutes, and stand behind what serves from their first instruction on; but only a
# little, since a replay must catch up with events faster than they arrive.
BEHIND: Final = ("replay", "verify")
NICENESS: Final = 5


def _joined(called: str | None) -> typer.Typer:
    """The program with the subcommand that is called, or with all of them."""
    program = typer.Typer(
        name="cacah",
        help="Voter tallies of every village, from the events of civil registration.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    # Beside a single command typer would take its name for an argument of it.
    program.callback()(lambda: None)
    is_one = called in COMMANDS or called in GROUPS
    for name, place in COMMANDS.items():
        if name == called or not is_one:
            program.command(name)(_found(place))
    for name, place in GROUPS.items():
        if name == called or not is_one:
            program.add_typer(_found(place), name=name)
    return program


def _found(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


_called = sys.argv[1] if len(sys.argv) > 1 else None
if _called in BEHIND:
    os.nice(NICENESS)
main = _joined(_called)

signal.signal(signal.SIGINT, signal.default_int_handler)

if __name__ == "__main__":
    main()
