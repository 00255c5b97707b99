"""The Apache Kafka of the local stack: fetched once by Maven, formatted once, then started."""

import asyncio
import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import socket
import string
import subprocess
import tempfile
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from cli.stack.errors import InterruptedStartError, StackError
from cli.stack.parts import Keeper, Part, Probe
from cli.stack.ports import choose_free
from cli.stack.settings import CHECKOUT, StackSettings

DEPLOY = CHECKOUT / "deploy" / "kafka"
OLDEST_JAVA = 17
STOP_TIMEOUT_S = 30.0
PROBE_TIMEOUT_S = 5.0
TRAINING_TIMEOUT_S = 40.0
LOCK_POLL_S = 0.1

# Written by Kafka's formatting alone: storage without it is none.
FORMATTED = "meta.properties"

# The serial collector has the least footprint and start time, and this broker collects little.
HEAP = ("-Xms64m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:MaxMetaspaceSize=128m")


def java() -> str:
    """The Java to run Kafka with: JAVA_HOME's, else the one on PATH."""
    home = os.environ.get("JAVA_HOME")
    candidate = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if candidate is None or not Path(candidate).exists():
        raise StackError(
            f"Java is missing; install a JDK of version {OLDEST_JAVA} or newer "
            "(on Debian and Ubuntu: apt install openjdk-17-jre-headless), "
            "or use Docker: docker compose up"
        )
    return candidate


def require_java(command: str) -> None:
    """Refuse a Java that is too old."""
    answer = subprocess.run([command, "-version"], capture_output=True, text=True, check=False)  # noqa: S603 - our own Java
    said = answer.stderr
    match = re.search(r'version "(\d+)(?:\.(\d+))?[^"]*"', said)
    major = 0 if match is None else int(match[2] if match[1] == "1" and match[2] else match[1])
    if major < OLDEST_JAVA:
        raise StackError(
            f"{command} is Java {major or 'of an unknown version'} and Kafka needs "
            f"{OLDEST_JAVA} or newer; install one and set JAVA_HOME to it, "
            "or use Docker: docker compose up"
        )


def require_maven() -> str:
    """Maven, which only the first start needs."""
    maven = shutil.which("mvn")
    if maven is None:
        raise StackError(
            "Maven is missing, and Kafka has not been fetched yet; install it "
            "(on Debian and Ubuntu: apt install maven), or use Docker: docker compose up"
        )
    return maven


def version() -> str:
    """The version of Kafka that the pom names."""
    match = re.search(r"<kafka\.version>([^<]+)<", (DEPLOY / "pom.xml").read_text())
    if match is None:
        raise StackError(f"{DEPLOY / 'pom.xml'} names no kafka.version; restore it with git")
    return match[1]


def jars(settings: StackSettings) -> Path:
    """Where the jars of this pom lie, or will."""
    digest = hashlib.sha256((DEPLOY / "pom.xml").read_bytes()).hexdigest()[:8]
    return settings.cache / f"kafka-{version()}-{digest}"


def part(settings: StackSettings) -> Part:
    """Kafka as the supervisor knows it."""
    work = settings.home / "kafka"
    command = java()
    require_java(command)
    if not jars(settings).exists():
        require_maven()
    return Part(
        name="kafka",
        command=[
            *machine(command, jars(settings)),
            *("-XX:+ExitOnOutOfMemoryError", "kafka.Kafka", str(work / "server.properties")),
        ],
        env=environment(),
        ready=probe(settings),
        where=f"127.0.0.1:{settings.kafka_port}",
        prepare=lambda keeper: prepare(keeper, settings),
        stop_timeout_s=STOP_TIMEOUT_S,
        cwd=work,
    )


def machine(command: str, library: Path) -> list[str]:
    """The virtual machine with Kafka's classes, mapped from an archive where there is one."""
    return [*bare_machine(command, library), f"-XX:SharedArchiveFile={archive(library)}"]


def bare_machine(command: str, library: Path) -> list[str]:
    """The virtual machine with Kafka's jars on its class path."""
    return [
        command,
        *HEAP,
        "-Xshare:auto",
        "-Xlog:disable",
        "-Djava.awt.headless=true",
        "-Djava.net.preferIPv4Stack=true",
        f"-Dlog4j2.configurationFile={DEPLOY / 'log4j2.yaml'}",
        *("-cp", f"{library}/*"),
    ]


def archive(library: Path) -> Path:
    """Where the classes lie as the virtual machine maps them; another Java does without."""
    return library / "classes.jsa"


def environment() -> dict[str, str]:
    """What the broker sees of ours: no secrets of the services, no CLASSPATH."""
    passed = ("PATH", "HOME", "LANG", "TMPDIR", "JAVA_HOME")
    return {name: os.environ[name] for name in passed if name in os.environ}


def prepare(keeper: Keeper, settings: StackSettings) -> None:
    """Have the jars, the settings and a formatted storage before the broker starts."""
    fetch(keeper, settings)
    work = settings.home / "kafka"
    write_properties(work / "server.properties", work / "data", settings.ports())
    if not (work / "data" / FORMATTED).exists():
        format_storage(keeper, settings, work)


def write_properties(path: Path, data: Path, ports: dict[str, int]) -> None:
    """Fill in the template; written anew at each start because ports may have moved."""
    template = string.Template((DEPLOY / "server.properties").read_text())
    path.write_text(
        template.substitute(
            data=data, port=ports["kafka_port"], controller_port=ports["kafka_controller_port"]
        )
    )


def format_storage(keeper: Keeper, settings: StackSettings, work: Path) -> None:
    """Format beside the place and move there whole, so that half a format never counts."""
    partial = work / "data.partial"
    properties = work / "format.properties"
    shutil.rmtree(partial, ignore_errors=True)
    write_properties(properties, partial, settings.ports())
    if keeper.run(format_command(jars(settings), properties), env=environment()) != 0:
        raise StackError(
            f"Kafka's storage could not be formatted in {work}; see {keeper.log}, "
            "then remove that directory (the log in PostgreSQL fills it again) and start again"
        )
    # What a broker leaves whose files were taken from it is no storage, and keeps it from starting.
    if (work / "data").exists():
        keeper.announce("Kafka's data were lost; its storage is made anew, and filled from the log")
        shutil.rmtree(work / "data")
    partial.rename(work / "data")


def format_command(library: Path, properties: Path) -> list[str]:
    """Kafka's own tool, with a cluster id that begins with a letter so that it is no option."""
    cluster = "C" + urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22]
    tool = ["kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(properties)]
    return [*machine(java(), library), "-XX:TieredStopAtLevel=1", *tool]


def fetch(keeper: Keeper, settings: StackSettings) -> None:
    """Have Maven copy the jars into the cache, once for all stacks of this checkout."""
    library = jars(settings)
    if library.exists() and archive(library).exists():
        return
    try:
        settings.cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StackError(
            f"cannot write to {settings.cache} ({error.strerror}); "
            "set CACAH_CACHE to a directory of your own"
        ) from error
    with alone(settings.cache, keeper):
        if not library.exists():
            download(keeper, library)
        if not archive(library).exists():
            train(keeper, settings, library)


@contextlib.contextmanager
def alone(cache: Path, keeper: Keeper) -> Iterator[None]:
    """One download at a time, however many stacks begin at once; waiting ends when told to stop."""
    with (cache / "lock").open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not keeper.wanted:
                    raise InterruptedStartError("stopped while another stack fetches") from None
                time.sleep(LOCK_POLL_S)
        yield


def download(keeper: Keeper, library: Path) -> None:
    """Copy into a directory beside the cache and move it there whole: no half cache looks whole."""
    maven = require_maven()
    partial = library.with_name(f"{library.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    keeper.announce(f"fetching Kafka {version()} with Maven, this once")
    command = [maven, "-q", "-B", "-f", str(DEPLOY / "pom.xml"), "dependency:copy-dependencies"]
    options = ["-DincludeScope=runtime", f"-DoutputDirectory={partial}"]
    status = keeper.run([*command, *options], env=dict(os.environ))
    if status != 0 or not list(partial.glob(f"kafka_*-{version()}.jar")):
        raise StackError(
            f"Maven could not fetch Kafka {version()} (its words are in {keeper.log}); "
            "connect this machine to the network, or name a Maven mirror in "
            "~/.m2/settings.xml, and start again"
        )
    partial.rename(library)


def train(keeper: Keeper, settings: StackSettings, library: Path) -> None:
    """Start a broker once to record the classes it loads: each later start takes half as long."""
    keeper.announce("preparing Kafka to start fast, this once")
    with tempfile.TemporaryDirectory(prefix="training-", dir=settings.cache) as scratch:
        work = Path(scratch)
        ports = choose_free("127.0.0.1")
        write_properties(work / "server.properties", work / "data", ports)
        recorded = work / "classes.jsa"
        record = [*bare_machine(java(), library), f"-XX:ArchiveClassesAtExit={recorded}"]
        properties = work / "server.properties"
        keeper.run(format_command(library, properties), env=environment())
        keeper.run(
            [*record, "kafka.Kafka", str(properties)],
            env=environment(),
            until=probe(settings.with_ports(ports)),
            timeout_s=TRAINING_TIMEOUT_S,
        )
        # Where it did not work out, an empty archive says not to try again; Java passes it over.
        recorded.touch()
        recorded.replace(archive(library))


def probe(settings: StackSettings) -> Probe:
    """Ready means that the broker is in its own metadata, not only that a port is open."""

    def ask() -> str | None:
        try:
            socket.create_connection(("127.0.0.1", settings.kafka_port), 1).close()
            brokers = asyncio.run(count_brokers(f"127.0.0.1:{settings.kafka_port}"))
        except (OSError, KafkaError, TimeoutError) as error:
            return f"Kafka does not answer yet ({type(error).__name__})"
        return None if brokers else "Kafka's broker has not joined its cluster yet"

    return ask


async def count_brokers(bootstrap: str) -> int:
    """How many brokers the cluster knows to be alive."""
    client = AIOKafkaClient(bootstrap_servers=bootstrap)
    try:
        await asyncio.wait_for(client.bootstrap(), PROBE_TIMEOUT_S)
        return len(client.cluster.brokers())
    finally:
        await client.close()
