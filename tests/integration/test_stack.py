"""The local stack on its real servers, with stub services: it starts, dies, recovers, stops."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import UnknownTopicOrPartitionError

from cli.stack import Part, Stack, StackError, StackSettings, processes
from cli.stack import home as stack_home
from cli.stack import kafka as stack_kafka

DEADLINE_S = 30.0

ANSWERING = """
    import http.server, os
    class Ready(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200); self.end_headers()
        def log_message(self, *args): pass
    http.server.HTTPServer(("127.0.0.1", int(os.environ["STUB_PORT"])), Ready).serve_forever()
"""
FAILING = "import sys; sys.exit('the stub has no wish to run')"


def stub(name: str, port: int, program: str = ANSWERING) -> Part:
    return Part(
        name=name,
        command=[sys.executable, "-c", textwrap.dedent(program)],
        env={"STUB_PORT": str(port)},
        ready=f"http://127.0.0.1:{port}/readyz",
        start_timeout_s=10.0,
    )


def eventually(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, f"not within {DEADLINE_S} s: {what}"
        time.sleep(0.05)


def processes_of(home: Path) -> list[int]:
    marked = processes.marked((home / "stack-id").read_text().strip())
    serving = processes.serving(home / "postgres")
    return list(processes.found(lambda pid: marked(pid) or serving(pid)))


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    home = tmp_path_factory.mktemp("stack")
    with Stack(home, ports="free", parts={"postgres", "kafka"}) as stack:
        yield stack


async def value(stack: Stack, query: str) -> object:
    connection = await asyncpg.connect(stack.database_url.replace("+asyncpg", ""))
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def test_a_commit_is_on_the_disk_before_it_is_acknowledged(servers: Stack) -> None:
    settings = "SELECT string_agg(setting, ',' ORDER BY name) FROM pg_settings WHERE name IN "
    names = "('fsync', 'synchronous_commit', 'full_page_writes', 'listen_addresses')"
    assert await value(servers, settings + names) == "on,on,127.0.0.1,on"


async def test_the_database_asks_for_its_password(servers: Stack) -> None:
    port = servers.settings.postgres_port
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(f"postgresql://cacah:guessed@127.0.0.1:{port}/cacah")


async def test_kafka_serves_an_idempotent_producer_and_a_consumer_group(servers: Stack) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=servers.kafka_bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic("facts", num_partitions=3, replication_factor=1)])
    async with AIOKafkaProducer(
        bootstrap_servers=servers.kafka_bootstrap, enable_idempotence=True, acks="all"
    ) as producer:
        for number in range(6):
            await producer.send_and_wait("facts", b"%d" % number, partition=number % 3)
    async with AIOKafkaConsumer(
        "facts",
        bootstrap_servers=servers.kafka_bootstrap,
        group_id="readers",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    ) as consumer:
        received = sorted([(await consumer.getone()).value for _ in range(6)])
        await consumer.commit()
    assert received == [b"%d" % number for number in range(6)]
    kept = await admin.list_consumer_group_offsets("readers")
    assert kept[TopicPartition("facts", 0)].offset == 2
    await admin.close()


async def test_a_topic_that_nobody_made_is_not_made_by_a_typing_error(servers: Stack) -> None:
    async with AIOKafkaProducer(
        bootstrap_servers=servers.kafka_bootstrap, request_timeout_ms=500
    ) as producer:
        with pytest.raises(UnknownTopicOrPartitionError):
            await producer.send("fatcs", b"1")


def test_a_second_stack_in_the_same_home_is_told_who_runs_and_how_to_stop_it(
    servers: Stack,
) -> None:
    with pytest.raises(StackError, match=rf"already running.*pid {os.getpid()}.*cacah down"):
        Stack(servers.home, ports="free", parts={"postgres"}).start()


def test_secrets_are_kept_for_their_owner_alone(servers: Stack) -> None:
    for name in ("operator-token", "vault-key", "postgres-password"):
        assert (servers.home / name).stat().st_mode & 0o777 == 0o600
    assert servers.operator_token == (servers.home / "operator-token").read_text().strip()


async def test_a_killed_server_stays_dead_until_it_is_started(servers: Stack) -> None:
    servers.kill_part("postgres")
    with pytest.raises(OSError, match=r"refused|Connect call failed"):
        await value(servers, "SELECT 1")
    assert servers.pid("postgres") is None
    servers.start_part("postgres")
    assert await value(servers, "SELECT 1") == 1


async def test_the_supervisor_brings_killed_servers_back_with_their_data(servers: Stack) -> None:
    await value(servers, "CREATE TABLE kept AS SELECT 7 AS number")
    before = {name: servers.starts(name) for name in ("postgres", "kafka")}
    for name in before:
        servers.kill_part(name, restart=True)
    for name, starts in before.items():
        eventually(lambda n=name, s=starts: servers.starts(n) > s and servers.is_ready(n), name)  # type: ignore[misc]
    assert await value(servers, "SELECT number FROM kept") == 7


def test_services_start_after_the_migrations_and_die_with_the_stack(tmp_path: Path) -> None:
    said: list[str] = []
    migrated = tmp_path / "migrated"
    migrations = [sys.executable, "-c", f"open({str(migrated)!r}, 'w').close()"]
    stack = Stack(
        tmp_path / "home",
        ports="free",
        parts={"postgres"},
        migrations=migrations,
        announce=said.append,
    )
    stack.add(stub("reader", stack.settings.registry_port))
    with stack:
        assert migrated.exists()
        assert stack.is_ready("reader")
        first = stack.pid("reader")
        assert first is not None
        os.kill(first, signal.SIGKILL)
        eventually(lambda: stack.is_ready("reader") and stack.pid("reader") != first, "restart")
        assert any("reader was ended by SIGKILL; starting it again" in line for line in said)
    assert processes_of(stack.home) == []


def test_a_part_that_fails_to_start_shows_the_end_of_its_log(tmp_path: Path) -> None:
    stack = Stack(tmp_path, ports="free", parts=set())
    stack.add(stub("reader", stack.settings.registry_port, FAILING))
    with pytest.raises(StackError, match=r"(?s)reader ended with status 1.*no wish to run"), stack:
        pass
    assert processes_of(tmp_path) == []


def test_a_part_that_fails_when_it_is_started_again_by_hand_says_so(tmp_path: Path) -> None:
    program = "import os, sys\nos.path.exists(os.environ['GONE']) and sys.exit('gone')\n"
    stack = Stack(tmp_path, ports="free", parts=set())
    part = stub("reader", stack.settings.registry_port, program + textwrap.dedent(ANSWERING))
    gone = tmp_path / "gone"
    stack.add(replace(part, env={**part.env, "GONE": str(gone)}))
    with stack:
        stack.kill_part("reader")
        gone.touch()
        with pytest.raises(StackError, match="reader ended with status 1"):
            stack.start_part("reader")
        gone.unlink()
        stack.start_part("reader")
        assert stack.is_ready("reader")


def test_nothing_outlives_a_killed_supervisor_and_the_next_start_recovers(tmp_path: Path) -> None:
    program = f"""
        import time
        from pathlib import Path
        from cli.stack import Stack
        with Stack(Path({str(tmp_path)!r}), ports="free", parts={{"postgres", "kafka"}}):
            print("ready", flush=True)
            time.sleep(600)
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as supervisor:
        assert supervisor.stdout is not None
        assert supervisor.stdout.readline() == b"ready\n"
        everything = [supervisor.pid, *processes_of(tmp_path)]
        supervisor.kill()
        supervisor.wait()
        for pid in everything[1:]:
            processes.send(pid, signal.SIGKILL, lambda _: True)
    eventually(lambda: processes_of(tmp_path) == [], "everything dead")
    # As if a foreign process had taken the dead postmaster's pid.
    pid_file = tmp_path / "postgres" / "postmaster.pid"
    lines = pid_file.read_text().splitlines() if pid_file.exists() else [""] * 8
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]))
    with Stack(tmp_path, ports="free", parts={"postgres", "kafka"}) as stack:
        assert stack.is_ready("postgres")
        assert stack.is_ready("kafka")


def test_the_parts_end_by_themselves_when_only_the_supervisor_is_killed(tmp_path: Path) -> None:
    program = f"""
        import time
        from pathlib import Path
        from cli.stack import Stack
        with Stack(Path({str(tmp_path)!r}), ports="free", parts={{"postgres"}}):
            print("ready", flush=True)
            time.sleep(600)
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as supervisor:
        assert supervisor.stdout is not None
        supervisor.stdout.readline()
        assert processes_of(tmp_path) != []
        supervisor.kill()
    eventually(lambda: processes_of(tmp_path) == [], "PostgreSQL gone")


def test_a_port_that_is_taken_is_named_with_the_setting_that_moves_it(tmp_path: Path) -> None:
    stack = Stack(tmp_path, ports="free", parts={"postgres"})
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", stack.settings.postgres_port))
        taken.listen()
        with pytest.raises(StackError, match=r"taken.*CACAH_POSTGRES_PORT"), stack:
            pass
    assert not (tmp_path / "postgres").exists()


def test_a_vault_key_is_never_made_anew_over_data(tmp_path: Path) -> None:
    key = stack_home.vault_key(tmp_path, None, has_data=False)
    assert stack_home.vault_key(tmp_path, None, has_data=True) == key
    (tmp_path / "vault-key").unlink()
    with pytest.raises(StackError, match=r"vault-key is missing.*backup"):
        stack_home.vault_key(tmp_path, None, has_data=True)


@pytest.mark.parametrize("key", ["short", "bm90IDMyIGJ5dGVz"])
def test_a_vault_key_of_the_wrong_size_is_refused_before_anything_starts(
    tmp_path: Path, key: str
) -> None:
    with pytest.raises(StackError, match="CACAH_VAULT_KEY must be 32 random bytes"):
        stack_home.vault_key(tmp_path, key, has_data=False)


def test_a_missing_or_old_java_is_named_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StackError, match="Java is missing; install"):
        stack_kafka.java()
    old = tmp_path / "java"
    old.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\" 2019' >&2\n")
    old.chmod(0o755)
    with pytest.raises(StackError, match="is Java 11 and Kafka needs 17"):
        stack_kafka.require_java(stack_kafka.java())


def test_an_empty_cache_without_maven_or_network_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = StackSettings(cache=tmp_path / "cache")
    maven = tmp_path / "bin" / "mvn"
    maven.parent.mkdir()
    for tool in ("java", "mvn"):
        (maven.parent / tool).write_text('#!/bin/sh\necho version \\"17\\" >&2\nexit 1\n')
        (maven.parent / tool).chmod(0o755)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", f"{maven.parent}:/usr/bin:/bin")
    stack = Stack(tmp_path / "home", ports="free", parts={"kafka"}, settings=settings)
    with pytest.raises(StackError, match=r"Maven could not fetch.*network.*mirror"), stack:
        pass
    maven.unlink()
    monkeypatch.setenv("PATH", str(maven.parent))
    with pytest.raises(StackError, match=r"Maven is missing.*install"):
        stack_kafka.part(stack.settings)
    assert not stack_kafka.jars(settings).exists()
