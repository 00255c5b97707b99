"""The local stack: starts its parts in order, keeps them running, stops them in reverse."""

import contextlib
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from pydantic import SecretStr

from cli.stack import home as stack_home
from cli.stack import kafka, parts, postgres, processes, services
from cli.stack.errors import InterruptedStartError, StackError
from cli.stack.parts import Keeper, Part
from cli.stack.ports import choose_free, require_free
from cli.stack.settings import CHECKOUT, StackSettings

SERVERS = ("postgres", "kafka")
SERVICES = tuple(services.PORT_FIELDS)
ALL = SERVERS + SERVICES
LOG_CHECK_S = 30.0
POLL_S = 0.02
SWEEP_GRACE_S = 10.0
PORTS_OF = {
    "postgres": ("postgres_port",),
    "kafka": ("kafka_port", "kafka_controller_port"),
    **{name: (field,) for name, field in services.PORT_FIELDS.items()},
}


def silent(_: str) -> None:
    """Says nothing; what tests want."""


class Stack:
    """PostgreSQL, Kafka and what runs on them, as children of this process.

    `parts` names which of ours to start; `add` puts others beside them. Where `restart` is true
    a part that dies is started again, with back-off. Use it as a context manager, or call
    `start` and `stop`.
    """

    def __init__(
        self,
        home: Path | None = None,
        *,
        ports: Literal["free"] | None = None,
        parts: Collection[str] = ALL,
        settings: StackSettings | None = None,
        restart: bool = True,
        migrations: Sequence[str] | None = services.MIGRATIONS,
        announce: Callable[[str], None] = silent,
    ) -> None:
        given = settings or StackSettings()
        chosen = given.at(home or given.home)
        self.settings = chosen.with_ports(choose_free(chosen.host)) if ports else chosen
        self.names = [name for name in ALL if name in parts]
        self.restart = restart
        self.announce = announce
        self.stopping = threading.Event()
        self._migrations = migrations
        self._added: list[Part] = []
        self._keepers: dict[str, Keeper] = {}
        self._held = contextlib.ExitStack()
        self._secrets: dict[str, str] = {}
        self._stack_id = ""

    # What others need to know of a stack.

    @property
    def home(self) -> Path:
        """Where the data, the logs and the secrets lie."""
        return self.settings.home

    @property
    def database_url(self) -> str:
        """The database as SQLAlchemy's asyncpg dialect wants it."""
        return postgres.database_url(self.settings)

    @property
    def superuser_url(self) -> str:
        """The same database as its superuser, for tests and for repair; a plain libpq address."""
        return postgres.database_url(self.settings, driver="", user=postgres.SUPERUSER)

    @property
    def kafka_bootstrap(self) -> str:
        """The address that Kafka's clients begin with."""
        return f"127.0.0.1:{self.settings.kafka_port}"

    @property
    def urls(self) -> dict[str, str]:
        """Where each service answers, by name."""
        return services.urls(self.settings)

    @property
    def operator_token(self) -> str:
        """The operator's token of this stack."""
        return self._secrets["operator_token"]

    @property
    def environment(self) -> dict[str, str]:
        """What the services are told; also for programs that a test starts beside them."""
        return services.environment(self.settings, database_url=self.database_url, **self._secrets)

    def log(self, name: str) -> Path:
        """The log file of a part."""
        return self.home / "logs" / f"{name}.log"

    # All of it.

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def add(self, part: Part) -> None:
        """Have one more part, started with the services; its `env` is laid over theirs."""
        self._added.append(part)

    def start(self) -> None:
        """Start everything and answer when all of it is ready; else a StackError says why not."""
        self.open()
        self._bring_up([name for name in SERVERS if name in self.names])
        others = [name for name in self._keepers if name not in SERVERS]
        if others and self._migrations is not None and "postgres" in self.names:
            self.migrate()
        self._bring_up(others)

    def open(self) -> None:
        """Take the home and check what can be checked, before anything is started."""
        stack_home.prepare(self.home)
        self._held.enter_context(stack_home.locked(self.home))
        self._stack_id = stack_home.identity(self.home)
        self._read_secrets()
        self._sweep()
        wanted = [field for name in self.names for field in PORTS_OF[name]]
        require_free(self.settings, wanted)
        self._keepers = {part.name: self._keeper(part) for part in self._parts()}
        threading.Thread(target=self._bound_logs, name="log bounds", daemon=True).start()

    def migrate(self) -> None:
        """Bring the database to the schema that the services expect."""
        self.announce("migrating the database")
        log = self.log("migrations")
        parts.rotate(log)
        status = self._run_migrations(log)
        if status != 0:
            raise StackError(
                f"the migrations ended with status {status}; their log is {log} and ends so:\n"
                + parts.tail(log)
            )

    def stop(self) -> None:
        """Stop everything in order: the services, then Kafka, then PostgreSQL."""
        self.stopping.set()
        others = [keeper for name, keeper in self._keepers.items() if name not in SERVERS]
        self._close(others)
        self._close([self._keepers[name] for name in ("kafka",) if name in self._keepers])
        self._close([self._keepers[name] for name in ("postgres",) if name in self._keepers])
        self._held.close()

    # Single parts, by name.

    def start_part(self, name: str, *, wait: bool = True) -> None:
        """Start a part that was stopped or left dead."""
        self._keepers[name].want()
        if wait:
            self.wait_ready(name)

    def stop_part(self, name: str) -> None:
        """Stop a part in its own way, and keep it down."""
        self._keepers[name].stop()

    def kill_part(self, name: str, *, restart: bool = False) -> None:
        """End a part by SIGKILL; it stays dead unless the supervisor is to start it again."""
        self._keepers[name].kill(restart=restart)

    def restart_part(self, name: str) -> None:
        """Stop a part and start it again."""
        self.stop_part(name)
        self.start_part(name)

    def pid(self, name: str) -> int | None:
        """The process of a part, if it runs."""
        return self._keepers[name].pid

    def is_ready(self, name: str) -> bool:
        """Whether the part was seen ready and has not ended since."""
        return self._keepers[name].ready

    def starts(self, name: str) -> int:
        """How often the part was started."""
        return self._keepers[name].starts

    def wait_ready(self, *names: str, timeout_s: float | None = None) -> None:
        """Wait until the parts are ready; raise when one fails, or the stack is told to stop."""
        keepers = [self._keepers[name] for name in names or self._keepers]
        # No limit of its own: each part has one, and the first start may have to fetch Kafka,
        # however slow the network is.
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        for keeper in keepers:
            while not keeper.ready:
                if self.stopping.is_set():
                    raise InterruptedStartError("the stack was stopped while it was starting")
                if keeper.failure is not None and not keeper.wanted:
                    raise StackError(keeper.failure)
                if deadline is not None and time.monotonic() > deadline:
                    raise StackError(
                        f"{keeper.part.name} was not ready within {timeout_s} s; see {keeper.log}"
                    )
                time.sleep(POLL_S)

    # How it is done.

    def _bring_up(self, names: Sequence[str]) -> None:
        for name in names:
            self._keepers[name].want()
        if names:
            self.wait_ready(*names)

    def _read_secrets(self) -> None:
        has_data = (self.home / "postgres" / "PG_VERSION").exists()
        self._secrets = {
            "operator_token": stack_home.operator_token(
                self.home, plain(self.settings.operator_token)
            ),
            "vault_key": stack_home.vault_key(self.home, plain(self.settings.vault_key), has_data),
            "webhook_key": stack_home.webhook_key(self.home, plain(self.settings.webhook_key)),
        }

    def _sweep(self) -> None:
        """End what an earlier supervisor of this home left behind when it was killed."""
        count = end_processes(self.home, self._stack_id)
        if count:
            self.announce(f"ended {count} processes that an earlier run left behind")

    def _parts(self) -> list[Part]:
        made = {
            "postgres": lambda: postgres.part(self.settings),
            "kafka": lambda: kafka.part(self.settings),
        }
        environment = self.environment
        ours = [
            made[name]() if name in made else services.part(name, self.settings, environment)
            for name in self.names
        ]
        return ours + [with_environment(part, environment) for part in self._added]

    def _keeper(self, part: Part) -> Keeper:
        log = self.log(part.name)
        parts.rotate(log)
        return Keeper(part, self._stack_id, log, self.announce, restart=self.restart)

    def _close(self, keepers: Sequence[Keeper]) -> None:
        """Stop several parts side by side, so that the slowest alone sets the time."""
        threads = [threading.Thread(target=keeper.close) for keeper in keepers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _run_migrations(self, log: Path) -> int:
        assert self._migrations is not None
        mark = {processes.MARK: f"{self._stack_id}/migrations"}
        with log.open("ab") as out:
            process = subprocess.Popen(  # noqa: S603 - the command is our own
                self._migrations,
                env={**self.environment, **mark},
                cwd=CHECKOUT,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        while process.poll() is None:
            if self.stopping.wait(POLL_S):
                process.terminate()
                process.wait()
                raise InterruptedStartError("the stack was stopped while it was migrating")
        return process.returncode

    def _bound_logs(self) -> None:
        while not self.stopping.wait(LOG_CHECK_S):
            for keeper in self._keepers.values():
                with contextlib.suppress(OSError):
                    parts.bound(keeper.log)


def with_environment(part: Part, environment: Mapping[str, str]) -> Part:
    """The part with its own variables laid over those of the stack."""
    return replace(part, env={**environment, **part.env})


def plain(secret: SecretStr | None) -> str | None:
    """A secret's text; a variable that is set but empty counts as not set."""
    return (secret.get_secret_value() or None) if secret is not None else None


def end_processes(home: Path, stack_id: str) -> int:
    """End all processes of a stack: the marked ones, and PostgreSQL's, which hide their mark."""
    marked, serving = processes.marked(stack_id), processes.serving(home / "postgres")
    count = processes.end_all(marked, signal.SIGTERM, SWEEP_GRACE_S)
    return count + processes.end_all(serving, signal.SIGINT, SWEEP_GRACE_S)


def end_left_over(home: Path) -> int:
    """End the processes of a home whose supervisor is gone, and answer how many there were."""
    if not (home / "stack-id").exists():
        return 0
    with stack_home.locked(home):
        return end_processes(home, stack_home.identity(home))
