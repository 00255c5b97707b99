"""`cacah tokens`: give stations and KPU their tokens, list them, take them back, see look-ups."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Final, TypeVar

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from cli.database import database_of, reason_of
from cli.stack import StackError
from services.registry.lookups import AUDIT_PAGE, LookUp, read_audit
from shared.access import IssuedToken, Role, Tokens
from shared.database import create_engine
from shared.stations import STATION_CODE

# No row is broken where another program reads them.
WIDTH_IN_A_FILE: Final = 1_000

app = typer.Typer(help="Tokens of stations, KPU and operators.", no_args_is_help=True)

Home = Annotated[Path | None, typer.Option(help="The home of a running stack.")]
Result = TypeVar("Result")


@app.command()
def create(
    role: Annotated[Role, typer.Option(help="Whose token it is.")],
    name: Annotated[str, typer.Option(help="The station's code, or who holds the token.")],
    lookup: Annotated[
        bool, typer.Option("--lookup", help="Let KPU ask for NIK and name of voters.")
    ] = False,
    home: Home = None,
) -> None:
    """Make a token and show it: the only time that it can be seen."""
    if lookup and role is not Role.KPU:
        raise typer.BadParameter("is for KPU's tokens alone", param_hint="--lookup")
    if not name.strip():
        raise typer.BadParameter("say who holds the token", param_hint="--name")
    if role is Role.STATION and not STATION_CODE.fullmatch(name):
        raise typer.BadParameter(
            "a station's code has 1 to 64 letters, digits, dots, hyphens and underscores, and"
            " begins with a letter or digit: under another name nothing could be sent",
            param_hint="--name",
        )
    token = _with_tokens(home, lambda tokens: tokens.create(role, name, lookup))
    typer.echo(token)
    typer.echo("Keep it now: only its hash is stored, and it is not shown again.", err=True)


@app.command("list")
def list_issued(home: Home = None) -> None:
    """List the tokens ever issued, never the secrets."""
    issued = _with_tokens(home, lambda tokens: tokens.issued())
    table = Table("id", "role", "name", "looks up", "created", "revoked", box=None, pad_edge=False)
    for token in issued:
        table.add_row(*map(Text, _row(token)))
    _print(table)


@app.command()
def revoke(
    token_id: Annotated[int, typer.Argument(metavar="ID", help="As `list` shows it.")],
    home: Home = None,
) -> None:
    """Take a token back; every service refuses it within seconds."""
    if not _with_tokens(home, lambda tokens: tokens.revoke(token_id)):
        typer.echo(f"No token {token_id} is in force; see `cacah tokens list`.", err=True)
        raise typer.Exit(1)
    typer.echo(f"Token {token_id} is revoked.")


@app.command()
def audit(
    after: Annotated[int, typer.Option(min=0, help="Only look-ups with a higher number.")] = 0,
    persons: Annotated[
        bool, typer.Option("--persons", help="Name the residents by resident_id.")
    ] = False,
    home: Home = None,
) -> None:
    """List who looked voters up, when and what for, the oldest first."""
    found = _with_database(home, lambda engine: _read_audit(engine, after))
    columns = ["number", "at (UTC)", "token", "role", "name", "asked for", "persons", "purpose"]
    table = Table(*columns, box=None, pad_edge=False)
    if persons:
        table.add_column("resident_id")
    for look_up in found:
        named = ["\n".join(map(str, look_up.resident_ids))] if persons else []
        table.add_row(*map(Text, _audit_row(look_up)), *named)
    _print(table)


def _row(token: IssuedToken) -> list[str]:
    revoked = token.revoked_at
    return [
        str(token.token_id),
        token.role.value,
        token.name,
        "yes" if token.may_look_up or token.role is Role.OPERATOR else "",
        f"{token.created_at:%Y-%m-%d %H:%M}",
        f"{revoked:%Y-%m-%d %H:%M}" if revoked else "",
    ]


def _audit_row(look_up: LookUp) -> list[str]:
    return [
        str(look_up.lookup_id),
        f"{look_up.at:%Y-%m-%d %H:%M:%S}",
        str(look_up.token_id or "settings"),
        look_up.role,
        look_up.name,
        look_up.asked_for,
        str(len(look_up.resident_ids)),
        look_up.purpose,
    ]


def _print(table: Table) -> None:
    Console(width=None if sys.stdout.isatty() else WIDTH_IN_A_FILE).print(table)


async def _read_audit(engine: AsyncEngine, after: int) -> list[LookUp]:
    found: list[LookUp] = []
    async with engine.connect() as connection:
        while page := await read_audit(connection, after, AUDIT_PAGE):
            found += page
            after = page[-1].lookup_id
    return found


def _with_tokens(home: Path | None, use: Callable[[Tokens], Awaitable[Result]]) -> Result:
    """Use the tokens of the database; what hinders is said in one sentence."""
    return _with_database(home, lambda engine: use(Tokens(engine, None)))


def _with_database(home: Path | None, use: Callable[[AsyncEngine], Awaitable[Result]]) -> Result:
    """Use the database; what hinders is said in one sentence."""
    try:
        return asyncio.run(_use(database_of(home), use))
    except (OSError, SQLAlchemyError, StackError) as error:
        typer.echo(f"The tokens cannot be reached: {reason_of(error)}", err=True)
        raise typer.Exit(1) from None


async def _use(url: str, use: Callable[[AsyncEngine], Awaitable[Result]]) -> Result:
    engine = create_engine(url, pool_size=1)
    try:
        return await use(engine)
    finally:
        await engine.dispose()
