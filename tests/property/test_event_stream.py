"""The reader of server-sent events against a slow one that has the whole stream before it."""

import random

from hypothesis import given
from hypothesis import strategies as st

from cli.following.event_stream import EventReader, ServerSent

Told = tuple[list[ServerSent], str, int | None]

LINES = st.one_of(
    st.sampled_from(
        [
            *("", ": a comment", ":", "data", "data:", "data: ", "data:  two", "data: a: b"),
            *("event: change", "event", "id: 7", "id", "id: a\0b", "retry: 2000", "retry: -1"),
            *("retry: 1x", "retry:", "Data: no", "unknown: field", "data: é ☃ 𝄞", " data: no"),
            *("id:8", "event:x", "\ufeffdata: no", "retry: ٣"),
        ]
    ),
    st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), max_size=6),
)
STREAMS = st.lists(st.tuples(LINES, st.sampled_from(["\n", "\r", "\r\n"])), max_size=30)


def slowly(stream: bytes) -> Told:
    """By the letter of the specification, one character after the other."""
    text = stream.decode("utf-8", "replace").removeprefix("\ufeff")
    lines, line, place = list[str](), "", 0
    while place < len(text):
        if text[place] in "\r\n":
            lines.append(line)
            line = ""
            place += 2 if text[place : place + 2] == "\r\n" else 1
        else:
            line += text[place]
            place += 1
    return _interpreted(lines)


def _interpreted(lines: list[str]) -> Told:
    events = list[ServerSent]()
    data, kind, named, last, retry = "", "", "", "", None
    for line in lines:
        if line == "":
            last = named
            if data != "":
                events.append(ServerSent(kind or "message", data[:-1], last))
            data, kind = "", ""
            continue
        if line[0] == ":":
            continue
        colon = line.find(":")
        name, value = (line, "") if colon < 0 else (line[:colon], line[colon + 1 :])
        if value[:1] == " ":
            value = value[1:]
        if name == "event":
            kind = value
        elif name == "data":
            data += value + "\n"
        elif name == "id" and "\0" not in value:
            named = value
        elif name == "retry" and value and all(digit in "0123456789" for digit in value):
            retry = int(value)
    return events, last, retry


def read_in_pieces(stream: bytes, cuts: list[int]) -> Told:
    """What the reader makes of a stream that comes in pieces."""
    reader, events = EventReader(), list[ServerSent]()
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        events += reader.read(stream[begin:end])
    return events, reader.last_id, reader.retry_ms


@given(STREAMS, st.booleans(), st.integers(min_value=0))
def test_a_stream_is_read_alike_however_it_is_cut(
    lines: list[tuple[str, str]], marked: bool, seed: int
) -> None:
    written = ("\ufeff" if marked else "") + "".join(line + end for line, end in lines)
    stream, chance = written.encode(), random.Random(seed)
    cuts = sorted(chance.choices(range(len(stream) + 1), k=chance.randrange(12)))
    expected = slowly(stream)
    assert read_in_pieces(stream, cuts) == expected
    assert read_in_pieces(stream, list(range(len(stream)))) == expected


@given(st.binary(max_size=60), st.integers(min_value=0, max_value=60))
def test_bytes_that_are_no_text_are_read_alike_too(stream: bytes, cut: int) -> None:
    whole = b"data: x\n\n" + stream + b"\n\n"
    assert read_in_pieces(whole, [min(cut, len(whole))]) == slowly(whole)
