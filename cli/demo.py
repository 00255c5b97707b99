"""`cacah demo`: from nothing to a system that counts, while one looks on, and the proofs of it."""

import asyncio
import contextlib
import os
import shlex
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from cli import demo_home
from cli.counting import Expectation, expect
from cli.playing import ELECTION, Addresses, Ending, PlayError, doors_to, play
from cli.sample import MAX_SIZE, residents
from cli.sample_events import stations
from cli.screen import plain_line, screen
from cli.sending import Order
from cli.stack import Stack, StackError, StackSettings
from cli.up import read_settings, refuse
from cli.watching import Scene
from shared.access import Role, Tokens
from shared.database import create_engine

SCREEN_EVERY_S: Final = 0.25
LINE_EVERY_S: Final = 2.0
FAULTS_SHOWN: Final = 5
INTERRUPTED: Final = 130


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for on the command line."""

    size: int
    seed: int
    stations: int
    rate: int
    exit_at_end: bool
    stack: StackSettings

    @property
    def home(self) -> Path:
        return self.stack.home


def demo(
    size: Annotated[
        int,
        typer.Option(
            "--residents", min=1, max=MAX_SIZE, envvar="RESIDENTS", help="How many residents."
        ),
    ] = 20_000,
    seed: Annotated[int, typer.Option(help="The same seed and size give the same events.")] = 1,
    station_count: Annotated[
        int, typer.Option("--stations", min=1, max=18, help="How many stations send at once.")
    ] = 6,
    rate: Annotated[
        int, typer.Option(min=0, help="Events a second at most; 0 as fast as they are answered.")
    ] = 0,
    exit_at_end: Annotated[
        bool, typer.Option("--exit", help="Stop at the end; status 0 only if all proofs held.")
    ] = False,
    home: Annotated[
        Path | None, typer.Option(help="The demo's own directory, emptied at each start.")
    ] = None,
) -> None:
    """Show the whole system at work on generated residents, and prove that it counted right."""
    try:
        settings = read_settings()
        settings = settings.at(home or settings.home / "demo")
        options = Options(size, seed, station_count, rate, exit_at_end, settings)
        status = asyncio.run(_interruptible(options, LastingConsole(highlight=False)))
    except StackError as error:
        refuse(error)
    else:
        raise typer.Exit(status)


class LastingConsole(Console):
    """A console whose reader may go away: everything is then stopped in order, without a word."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        # Python flushes standard output once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        signal.raise_signal(signal.SIGTERM)


async def _interruptible(options: Options, console: Console) -> int:
    """Run until done or told to stop; the first Ctrl-C ends everything in order."""
    demo_task = asyncio.create_task(_demo(options, console))

    def interrupt(number: signal.Signals) -> None:
        # A closed terminal can no longer be written to.
        console.quiet = console.quiet or number is signal.SIGHUP
        if demo_task.cancelling() == 0:
            demo_task.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, interrupt, number)
    try:
        return await demo_task
    except asyncio.CancelledError:
        return INTERRUPTED
    except PlayError as error:
        console.print(f"cacah demo: {error}", soft_wrap=True, markup=False, style="red")
        return 1


async def _demo(options: Options, console: Console) -> int:
    if demo_home.empty(options.home):
        console.print(f"Removed what an earlier demo left in {options.home}.", soft_wrap=True)
    counting = asyncio.create_task(
        asyncio.to_thread(lambda: expect(residents(options.size, options.seed)))
    )
    async with _running_stack(options.stack, console) as stack:
        ending = await _show(options, stack, await counting, console)
        held = _tell(ending, console)
        if options.exit_at_end:
            return 0 if held else 1
        _say_where_to_look(stack, console)
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return 0 if held else 1


@asynccontextmanager
async def _running_stack(settings: StackSettings, console: Console) -> AsyncIterator[Stack]:
    """The stack, started and stopped in threads, since it is made of waiting."""

    def announce(line: str) -> None:
        console.print(f"  {line}", soft_wrap=True, markup=False, style="grey62")

    stack = Stack(settings=settings, announce=announce)
    console.print(f"Starting PostgreSQL, Kafka and the three services in {settings.home}")
    starting = asyncio.create_task(asyncio.to_thread(stack.start))
    try:
        await asyncio.shield(starting)
        yield stack
    finally:
        await _stop(stack, starting, console)


async def _stop(stack: Stack, starting: asyncio.Task[None], console: Console) -> None:
    try:
        console.print("Stopping everything …")
    finally:
        await asyncio.to_thread(stack.stop)
        with contextlib.suppress(StackError):
            await starting
    console.print("Stopped; nothing is left running.")


async def _show(options: Options, stack: Stack, expected: Expectation, console: Console) -> Ending:
    scene = Scene(expected)
    addresses, order = await _admit(options, stack)
    console.print(
        f"{len(order.tokens)} stations send {expected.sent:,} events of {options.size:,} generated"
        f" residents, seed {options.seed}.\n"
    )
    async with doors_to(addresses) as doors:
        if not console.is_terminal:
            say = partial(console.print, soft_wrap=True, markup=False)
            return await play(order, doors, scene, lambda s: say(plain_line(s)), LINE_EVERY_S)
        with Live(console=console, auto_refresh=False) as live:
            return await play(
                order,
                doors,
                scene,
                lambda s: live.update(screen(s, *console.size), refresh=True),
                SCREEN_EVERY_S,
            )


async def _admit(options: Options, stack: Stack) -> tuple[Addresses, Order]:
    """Give each station and KPU a token, as an operator would."""
    engine = create_engine(stack.database_url, pool_size=1)
    try:
        tokens = Tokens(engine, None)
        sending = stations(options.stations, options.size)
        of_stations = {s.code: await tokens.create(Role.STATION, s.code) for s in sending}
        of_kpu = await tokens.create(Role.KPU, "KPU Kabupaten Kerinci")
    finally:
        await engine.dispose()
    demo_home.write_secret(_kpu_token_file(stack), of_kpu)
    urls = stack.urls
    addresses = Addresses(
        urls["registry"], urls["projections"], urls["notifier"], stack.operator_token, of_kpu
    )
    return addresses, Order(urls["registry"], options.size, options.seed, of_stations, options.rate)


def _kpu_token_file(stack: Stack) -> Path:
    return stack.home / "kpu-token"


def _tell(ending: Ending, console: Console) -> bool:
    """Print each proof on a line; whether all held."""
    # A terminal breaks lines between words; elsewhere each proof is one line.
    say = partial(console.print, soft_wrap=not console.is_terminal, markup=False)
    say()
    if ending.complete:
        say(f"KPU had everything {ending.settled_after_s:.1f} s after the last answer.")
    for letter, proof in zip("abc", ending.proofs, strict=True):
        verdict = ("  ok      " if proof.holds else "  FAILED  ", _style(proof.holds))
        against = f"{len(proof.faults):,} things speak against it, such as"
        figures = proof.figures if proof.holds else against
        say(Text.assemble(verdict, f"({letter}) {proof.claim}: {figures}"))
        for fault in proof.faults[:FAULTS_SHOWN]:
            say(f"            {fault}", style="red")
    held = all(proof.holds for proof in ending.proofs)
    failed = [f"({letter})" for letter, p in zip("abc", ending.proofs, strict=True) if not p.holds]
    say("All proofs held." if held else f"Not proved: {', '.join(failed)}.", style=_style(held))
    return held


def _style(holds: bool) -> str:
    return "green" if holds else "bold red"


def _say_where_to_look(stack: Stack, console: Console) -> None:
    say = partial(console.print, soft_wrap=True, markup=False)
    token = shlex.quote(str(_kpu_token_file(stack)))
    bearer = f'-H "Authorization: Bearer $(cat {token})"'
    say("\nWhere to look next")
    say(f"  dashboard    {stack.urls['projections']}/  (open it in a browser, with KPU's token)")
    for name, url in stack.urls.items():
        say(f"  {name:12} {url}  ({url}/docs)")
    say(
        f"  tokens       {stack.home / 'operator-token'} (operator), {_kpu_token_file(stack)} (KPU)"
    )
    say(f"  logs         {stack.home / 'logs'}")
    say("  the regency's tally, and KPU's changes as they come:")
    say(f"    curl -s {bearer} {stack.urls['projections']}/v1/elections/{ELECTION}/total")
    say(f"    curl -sN {bearer} '{stack.urls['notifier']}/v1/elections/{ELECTION}/stream?after=0'")
    down = f"CACAH_HOME={shlex.quote(str(stack.home))} cacah down"
    say(f"\nIt stays up until Ctrl-C here, or `{down}` elsewhere.")
