"""Proofs that the database answers by itself: a question for each thing that must never be."""

from collections.abc import Iterable
from dataclasses import dataclass

from cli.verifying.proof import difference
from cli.verifying.snapshot import Connection


@dataclass(frozen=True, slots=True)
class Question:
    """A query for what must not be, its first row alone; the sentence that its columns fill; and
    what to do next."""

    query: str
    sentence: str
    next_step: str


async def first_fault(connection: Connection, questions: Iterable[Question]) -> str | None:
    """What the first question that finds something says, none where all find nothing."""
    for question in questions:
        found = await connection.fetchrow(question.query)
        if found is not None:
            said = question.sentence.format(*("none" if v is None else v for v in found))
            return difference(said, question.next_step)
    return None
