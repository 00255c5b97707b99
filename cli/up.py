"""`cacah up` runs the whole system here until Ctrl-C; `cacah down` stops it from elsewhere."""

import signal
import time
from collections.abc import Callable
from types import FrameType

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from cli.stack import Stack, StackError, StackSettings
from cli.stack import home as stack_home
from cli.stack.errors import InterruptedStartError
from cli.stack.supervisor import end_left_over

EXIT_CANNOT_RUN = 2


def up() -> None:
    """Start PostgreSQL, Kafka and the three services, and keep them running until Ctrl-C."""
    console = Console(highlight=False, soft_wrap=True)
    began = time.monotonic()
    try:
        stack = Stack(settings=read_settings(), announce=announcer(console))
        stop_on_signals(stack)
        with stack:
            show_ready(console, stack, time.monotonic() - began)
            stack.stopping.wait()
            say(console, "stopping the services, then Kafka, then PostgreSQL")
    except InterruptedStartError:
        say(console, "stopped before everything was ready; nothing is left running")
    except StackError as error:
        refuse(error)
    else:
        say(console, "stopped; nothing is left running")


def down() -> None:
    """Stop the stack of this CACAH_HOME, wherever it was started."""
    console = Console(highlight=False, soft_wrap=True)
    try:
        home = read_settings().home.expanduser().absolute()
        pid = stack_home.stop_holder(home)
        left_over = 0 if pid else end_left_over(home)
    except StackError as error:
        refuse(error)
        return
    if pid is not None:
        say(console, f"stopped the stack in {home} (pid {pid})")
    elif left_over:
        say(console, f"ended {left_over} processes that a killed supervisor left in {home}")
    else:
        say(console, f"nothing runs in {home}; start it with `cacah up`")


def read_settings() -> StackSettings:
    """The settings of the environment, or which of them is wrong and why."""
    try:
        return StackSettings()
    except ValidationError as error:
        wrong = "; ".join(
            f"CACAH_{str(item['loc'][0]).upper()}: {item['msg'].lower()}" for item in error.errors()
        )
        raise StackError(f"a setting is wrong ({wrong}); correct it or unset it") from error


def stop_on_signals(stack: Stack) -> None:
    """Let Ctrl-C, SIGTERM and a closed terminal stop the stack in order.

    A second signal changes nothing: `make` passes on a Ctrl-C that the terminal has already sent
    to everybody, and a stop that is cut short leaves work to the next start.
    """

    def stop(_number: int, _frame: FrameType | None) -> None:
        stack.stopping.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)


def announcer(console: Console) -> Callable[[str], None]:
    """Tells each thing that happens in one line, with its time."""
    return lambda message: say(console, message)


def say(console: Console, message: str) -> None:
    """One line: dimmed time and text on a terminal, plain elsewhere."""
    console.print(f"[dim]{time.strftime('%H:%M:%S')}[/dim]", end=" ")
    console.print(message, markup=False)


def show_ready(console: Console, stack: Stack, took_s: float) -> None:
    """What runs and where, and what to do next."""
    token = stack.home / "operator-token"
    rows = [
        ("dashboard", f"{stack.urls['projections']}/", "for a browser, with a token"),
        ("registry", f"{stack.urls['registry']}/docs", "send events"),
        ("projections", f"{stack.urls['projections']}/docs", "the tally of every village"),
        ("notifier", f"{stack.urls['notifier']}/docs", "changes for KPU"),
        ("kafka", stack.kafka_bootstrap, "population.events, voter.changes"),
        ("postgres", f"127.0.0.1:{stack.settings.postgres_port}", "database cacah"),
    ]
    say(console, f"ready in {took_s:.1f} s")
    if console.is_terminal:
        table = Table(box=None, show_header=False, padding=(0, 2))
        for name, where, what in rows:
            table.add_row(f"[bold green]{name}[/]", where, f"[dim]{what}[/]")
        console.print(table)
    else:
        for row in rows:
            console.print("  {:<12} {:<36} {}".format(*row), markup=False)
    if stack.settings.operator_token is None:
        say(console, f"the operator's token is in {token}")
    say(console, f"logs are in {stack.home / 'logs'}; stop with Ctrl-C or `cacah down`")


def refuse(error: StackError) -> None:
    """Say in one sentence what hinders, and end with the status of a start that cannot be."""
    typer.echo(f"cacah: {error}", err=True)
    raise typer.Exit(EXIT_CANNOT_RUN)
