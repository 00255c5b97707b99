"""A body that is not JSON throughout costs only those of its events that are not."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.registry.domain.reading import MOST_TOKENS, Unfit, made_out, read_batch, read_event
from services.registry.domain.submissions import Arrival, arrive
from shared.problems import Problem, ProblemType
from tests.support.builders import registered

GOOD = orjson.dumps(registered())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def bad(member: str, written: bytes) -> bytes:
    """An event with a member as these bytes."""
    return GOOD[:-1] + b',"' + member.encode() + b'":' + written + b"}"


def checked(event: Any) -> Problem:
    arrived = arrive(event, True, str.encode)
    assert isinstance(arrived, Arrival)
    assert isinstance(arrived.checked, Problem)
    return arrived.checked


@pytest.mark.parametrize(
    ("written", "field"),
    [
        (b'"\\ud800"', "note"),
        (b'"\xe9"', "note"),
        (b"1e400", "note"),
        (b"NaN", "note"),
        (b"[" * 2_000 + b"]" * 2_000, "body"),
        (b'{"a":' * 2_000 + b"1" + b"}" * 2_000, "body"),
    ],
    ids=["surrogate", "latin-1", "infinite", "nan", "deep array", "deep object"],
)
def test_an_event_that_json_cannot_carry_is_read_as_far_as_it_goes(
    written: bytes, field: str
) -> None:
    found = read_batch(b" [" + GOOD + b",\n" + bad("note", written) + b" ,7]\n")
    assert found is not None
    one, other, seven = found
    assert (one, seven) == (registered() | {"id": one["id"]}, 7)
    assert isinstance(other, Unfit)
    arrived = arrive(other, True, str.encode)
    assert isinstance(arrived, Arrival)
    assert (arrived.source, arrived.id, arrived.claims) == (one["source"], one["id"], True)
    problem = checked(other)
    assert (problem.type, problem.field) == (ProblemType.INVALID, field)


def test_what_is_wrong_within_the_data_is_named_there() -> None:
    sent = orjson.dumps(registered(name="@")).replace(b'"@"', b'"\\udfff"')
    assert checked(read_event(sent)).field == "data.name"


def test_equal_content_is_equal_however_it_was_written() -> None:
    one, other = (arrive(read_event(bad("n", n)), True, str.encode) for n in (b"1e400", b"1E999"))
    assert isinstance(one, Arrival)
    assert isinstance(other, Arrival)
    assert one.content == other.content


def test_bytes_that_are_no_utf_8_are_kept() -> None:
    arrived = arrive(read_event(bad("note", b'"\xe9"')), True, str.encode)
    assert isinstance(arrived, Arrival)
    note = json.loads(arrived.content)["note"]
    assert note.encode("utf-8", "surrogateescape") == b"\xe9"


def test_a_name_of_half_a_character_can_be_answered_and_claims_nothing() -> None:
    sent = orjson.dumps(registered(id="@")).replace(b'"@"', b'"\\ud800"')
    arrived = arrive(read_event(sent), True, str.encode)
    assert isinstance(arrived, Arrival)
    assert (arrived.id, arrived.claims) == ("?", False)


@pytest.mark.parametrize(
    "body",
    [b"7", b"{}", b"[1", b"[1]]", b"[1]]x", b"[1,]", b"[,1]", b"["],
    ids=["number", "object", "open", "closed twice", "more", "comma", "comma first", "begun"],
)
def test_what_is_no_array_is_none(body: bytes) -> None:
    assert read_batch(body) is None


def test_taking_a_body_apart_has_an_end() -> None:
    assert read_batch(b"[" + b"[]," * MOST_TOKENS + b"x]") is None


def test_what_is_no_event_at_all_is_none_and_its_neighbours_are_read() -> None:
    found = read_batch(b'[{"id":}, ["{\\"", {}], "]"]')
    assert found is not None
    assert (found[0], found[1:]) == (Unfit(None), [['{"', {}], "]"])
    assert made_out(found[0]) is None


@given(st.lists(JSON, min_size=1))
def test_a_batch_taken_apart_is_what_it_is_whole(values: list[Any]) -> None:
    assert read_batch(orjson.dumps(values)) == values
