"""`python -m tests.bench`: start a stack of its own, measure it, print the table, leave nothing."""

import argparse
import asyncio
import contextlib
import gc
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import uvloop
from rich.console import Console

from cli.stack import Stack, StackError
from tests.bench import machine, report
from tests.bench.machine import Watch
from tests.bench.measuring import FULL, QUICK, Measured, Plan, Say, rounds
from tests.bench.report import Setting
from tests.bench.wire import UnexpectedAnswerError

CANNOT_RUN = 2


def main() -> int:
    arguments = _arguments()
    plan = QUICK if arguments.quick else FULL
    plan = replace(plan, runs=arguments.runs or plan.runs)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        setting, measured = _measure(plan)
    except (StackError, UnexpectedAnswerError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return CANNOT_RUN
    print(report.table(setting, measured))
    if arguments.json is not None:
        arguments.json.write_bytes(report.as_json(setting, measured))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description="Measure the whole system beside floor and peer."
    )
    parser.add_argument("--runs", type=_at_least_one, help="runs of each measurement (5)")
    parser.add_argument("--quick", action="store_true", help="one short run, for trying")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every run here")
    return parser.parse_args()


def _at_least_one(written: str) -> int:
    number = int(written)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def _measure(plan: Plan) -> tuple[Setting, Measured]:
    began_at = time.monotonic()
    with _progress() as say, _stack(say) as stack:
        versions = asyncio.run(machine.versions(stack.superuser_url))
        work = rounds(stack, plan)
        # What was made up to here lives to the end: no collection need look at it again.
        gc.freeze()
        watch = Watch(stack)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            measured = runner.run(work.run(say))
        others_percent = watch.others_percent()
        memory_mb = machine.memory_mb(stack)
    command = shlex.join(["python", "-m", "tests.bench", *sys.argv[1:]])
    seconds = time.monotonic() - began_at
    about = machine.machine()
    return Setting(command, seconds, others_percent, about, versions, memory_mb), measured


@contextlib.contextmanager
def _stack(say: Say) -> Iterator[Stack]:
    say("starting PostgreSQL, Kafka and the three services")
    with (
        tempfile.TemporaryDirectory(prefix="cacah-bench-", ignore_cleanup_errors=True) as home,
        Stack(Path(home), ports="free", restart=False) as stack,
    ):
        yield stack


@contextlib.contextmanager
def _progress() -> Iterator[Say]:
    """What is going on, on a terminal alone and gone when it is over."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status("") as status:
        yield lambda doing: status.update(doing)


if __name__ == "__main__":
    sys.exit(main())
