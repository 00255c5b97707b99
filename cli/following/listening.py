"""`cacah listen`: passes changes on to a receiver on this machine while somebody develops it.

Only to loopback and private addresses: it is a workbench, its secret stands on the screen and it
forgets everything when it ends. A receiver that is in use has a subscription.
"""

import asyncio
import os
import ssl
import time
from ipaddress import ip_network
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.text import Text

from cli.following.changes import Feed
from cli.following.command import NOT_JOINED, until_stopped
from cli.following.door import (
    Address,
    Door,
    NotifierAwayError,
    ask,
    election_path,
    find_door,
)
from cli.following.forwarding import Delivered, Forwarder
from cli.following.standing import FeedFault, Standing
from cli.following.subscribing import Subscription
from cli.projections import COULD_NOT_RUN, CannotAskError, ElectionId, Home, TokenFile
from services.notifier.addresses import (
    Addresses,
    Resolver,
    UnusableUrlError,
    meant_by,
    read_url,
)
from services.notifier.posting import Poster
from services.notifier.signing import Scheme, SigningKey, UnusableSecretError, new_key, read_key

SECRET_SETTING: Final = "CACAH_LISTEN_SECRET"  # noqa: S105 - the name of a setting
ANSWER_SHOWN: Final = 80

LOCAL: Final = tuple(
    ip_network(network)
    for network in (
        *("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"),
        *("::1/128", "fc00::/7"),
    )
)


def listen(
    forward: Annotated[
        str, typer.Option(metavar="URL", help="Where to, such as http://127.0.0.1:9000/cacah.")
    ],
    election: ElectionId = "pilkada-2024",
    after: Annotated[
        int | None,
        typer.Option(min=0, help="Begin after this sequence; else with what comes from now on."),
    ] = None,
    notifier: Address = None,
    token_file: TokenFile = None,
    home: Home = None,
) -> None:
    """Pass changes on to a receiver under development, signed as webhooks are, until Ctrl-C.

    The secret is of this run alone, unless CACAH_LISTEN_SECRET holds one.
    """
    try:
        key = _key()
        door = find_door(notifier, token_file, home)
        asyncio.run(until_stopped(_listen(door, forward, election, after, key)))
    except FeedFault as fault:
        _end(fault, NOT_JOINED)
    except (CannotAskError, NotifierAwayError, UnusableSecretError) as error:
        _end(error, COULD_NOT_RUN)


def _end(error: Exception, status: int) -> None:
    typer.echo(f"cacah listen: {error}", err=True)
    raise typer.Exit(status) from None


def _key() -> SigningKey:
    """The key that signs. Raises UnusableSecretError."""
    given = os.environ.get(SECRET_SETTING)
    return read_key(given) if given else new_key(Scheme.V1)


async def _listen(
    door: Door, forward: str, election: str, after: int | None, key: SigningKey
) -> None:
    resolver = Resolver()
    poster = await local_poster(forward, resolver)
    try:
        async with door.client() as client:
            if after is None:
                page = await ask(client, f"{election_path(election)}/changes", limit=1)
                after = int(page["last"])
            standing = Standing(election, Feed.VILLAGES, after, whole=after == 0)
            lines = Lines(Console(highlight=False, soft_wrap=True))
            lines.introduce(key, standing, forward)
            subscription = Subscription(client, standing, lines.tell)
            async with asyncio.TaskGroup() as group:
                forwarder = Forwarder(poster, key, group, lines.attempted)
                await subscription.follow(forwarder.take)
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    finally:
        await poster.close()
        resolver.close()


async def local_poster(forward: str, resolver: Resolver) -> Poster:
    """What posts to a receiver on this machine or in its network. Raises CannotAskError for one
    that is elsewhere or no address."""
    try:
        target = read_url(forward)
        found = await resolver(target.host, target.port)
    except UnusableUrlError as error:
        raise CannotAskError(f"--forward: {error} (http:// will do here)") from None
    except OSError as error:
        raise CannotAskError(f"--forward: {forward} is not found ({error.strerror})") from None
    for address in map(meant_by, found):
        if not any(address in network for network in LOCAL):
            raise CannotAskError(
                f"--forward leads to {address}, which is neither this machine nor a private"
                " network: a receiver elsewhere takes a subscription (POST /v1/subscriptions)"
            )
    addresses = Addresses(LOCAL, resolver)
    return Poster(target, addresses, ssl.create_default_context())


class Lines:
    """What a developer sees: how to verify, then every attempt, and when the notifier is away."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def introduce(self, key: SigningKey, standing: Standing, forward: str) -> None:
        self._console.print(Text(f"secret     {key.public_key() or key.secret()}"))
        place = f"{standing.election}, after change {standing.sequence}"
        self._console.print(Text(f"election   {place}"))
        self._console.print(Text(f"forward    {forward}"))
        self._console.print(Text("Ctrl-C ends it; nothing is kept.\n"))

    def attempted(self, delivered: Delivered) -> None:
        self._line(said_of(delivered))

    def tell(self, what: str, hinders: bool) -> None:
        self._line(Text(what, "yellow" if hinders else ""))

    def _line(self, what: Text) -> None:
        self._console.print(Text(f"{time.strftime('%H:%M:%S')}  ").append_text(what))


def said_of(delivered: Delivered) -> Text:
    """An attempt in one line."""
    change, outcome = delivered.change, delivered.outcome
    result = str(outcome.fault or outcome.status)
    style = "green" if outcome.delivered else "yellow"
    line = Text(f"{change.sequence:>7}  {change.key}  ")
    line.append(result, style).append(f"  {outcome.duration_ms} ms")
    if delivered.again_s is not None:
        line.append(f", attempt {delivered.attempt}, again in {delivered.again_s:.1f} s")
        letters = outcome.answer.decode("utf-8", "replace")
        # What a receiver answers must not move the cursor of a terminal.
        answer = " ".join("".join(c if c.isprintable() else " " for c in letters).split())
        line.append(f"  {answer[:ANSWER_SHOWN]}" if answer else "", "dim")
    return line
