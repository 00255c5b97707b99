"""The peer Kafka Streams: the same topic folded to the same tallies, exactly once (v2).

The topology is in `streams/`. Its jars come by Maven into the cache of the checkout, once.
"""

import asyncio
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

import orjson

from cli.stack import StackError, StackSettings
from cli.stack.kafka import java, require_maven
from shared.counts import Counts
from shared.elections import Election

SOURCES: Final = Path(__file__).parent / "streams"
TIMEOUT_S: Final = 900.0


@dataclass(frozen=True, slots=True)
class StreamsRun:
    """What a run came to: `seconds` from the start of the program's topology, `folding_s` from
    its first event, both to the last village's last delta."""

    seconds: float
    folding_s: float
    tallies: Mapping[str, Counts]


def build() -> Path:
    """The directory that holds the jars and the compiled topology. Raises StackError."""
    digest = sha256(b"".join(path.read_bytes() for path in sorted(SOURCES.iterdir())))
    built = StackSettings().cache / f"streams-{digest.hexdigest()[:8]}"
    if built.exists():
        return built
    compiler = shutil.which("javac")
    if compiler is None:
        raise StackError("javac is missing; install a JDK (apt install openjdk-17-jdk-headless)")
    partial = built.with_name(f"{built.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    pom = str(SOURCES / "pom.xml")
    copy = (
        "dependency:copy-dependencies",
        "-DincludeScope=runtime",
        f"-DoutputDirectory={partial}",
    )
    _run([require_maven(), "-q", "-B", "-f", pom, *copy])
    sources = sorted(str(path) for path in SOURCES.glob("*.java"))
    _run([compiler, "-cp", f"{partial}/*", "-d", str(partial / "classes"), *sources])
    partial.rename(built)
    return built


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise StackError(f"{command[0]} failed: {done.stdout}{done.stderr}")


async def fold(built: Path, bootstrap: str, events: int, election: Election) -> StreamsRun:
    """Fold the whole topic in a virtual machine of its own. Raises StackError."""
    with tempfile.TemporaryDirectory(prefix="cacah-streams-") as state:
        process = await asyncio.create_subprocess_exec(
            *(java(), "-Xmx1g", "-cp", f"{built}/*:{built}/classes", "Tallies"),
            *(bootstrap, str(events), state, str(election.polling_day), election.area),
            *(str(election.minimum_age), str(election.first_time_since)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(TIMEOUT_S):
                said, complained = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    if process.returncode != 0:
        raise StackError(f"Kafka Streams failed: {complained.decode()[-2_000:]}")
    result = orjson.loads(said)
    tallies = {village: Counts._make(counts) for village, counts in result["tallies"].items()}
    return StreamsRun(result["seconds"], result["seconds_from_first"], tallies)
