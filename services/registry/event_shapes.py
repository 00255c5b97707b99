"""The shapes of events for the documents of the interface, made from the rulebook's models.

What is sent has NIK and name; what the log serves and Kafka carries is the same without them.
"""

from datetime import datetime
from functools import reduce
from operator import or_
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, create_model

from services.registry.domain import forms, submissions
from services.registry.domain.forms import DATA
from shared.events.facts import TYPE_PREFIX
from shared.stations import SOURCE_FORM

PERSONAL: Final = ("nik", "name")


class Envelope(BaseModel):
    """CloudEvents 1.0 in JSON; extensions that are not named here are kept."""

    model_config = ConfigDict(extra="allow")

    specversion: Literal["1.0"]
    id: Annotated[
        str,
        Field(
            min_length=1,
            max_length=forms.MAX_ID_LENGTH,
            description="Unique within `source`.",
        ),
    ]
    source: Annotated[
        str,
        Field(
            pattern=f"^{SOURCE_FORM.pattern}$",
            description="`urn:dukcapil:station:` and the station's code.",
        ),
    ]
    time: Annotated[
        str,
        Field(
            json_schema_extra={"format": "date-time"},
            description="When it happened: RFC 3339 with an offset.",
        ),
    ]
    datacontenttype: Literal["application/json"] | None = None
    stationseq: Annotated[
        int | None,
        Field(
            ge=1,
            le=submissions.MAX_STATION_SEQ,
            description="Counts a station's events from 1 without a gap.",
        ),
    ] = None


class Logged(BaseModel):
    """An entry of the log: who it concerns is `resident_id`; `data` is what was sent less `nik`
    and `name`."""

    position: Annotated[int, Field(ge=1, description="Its place in the one sequence.")]
    recorded_at: datetime
    time: Annotated[str, Field(description="As it was sent.")]
    source: str
    id: str
    resident_id: UUID


class Recorded(Logged):
    """A record of `population.events`: an entry of the log, and the place of the one before it."""

    previous: Annotated[
        int,
        Field(
            ge=0,
            description="The position of the event before it in the partition, 0 for the first. If"
            " you do not have that one, something is missing.",
        ),
    ]
    version: Annotated[int, Field(ge=1, description="Of the written form of `data`.")]


class PublishedUpTo(BaseModel):
    """A record of `population.events` that says that the topic has everything up to a position,
    so that a partition without events of its own is known to be complete too."""

    previous: Annotated[int, Field(ge=0, description="The partition's last event.")]
    published_up_to: Annotated[int, Field(ge=0, description="A position of the log.")]


def _camel(event_type: str) -> str:
    return "".join(word.capitalize() for word in event_type.replace(".", " ").split())


def _only(value: str) -> Any:
    return Literal[value]


def _sent(event_type: str) -> Any:
    return create_model(
        _camel(event_type),
        __base__=Envelope,
        type=(_only(TYPE_PREFIX + event_type), ...),
        data=(DATA[event_type], ...),
    )


def _told(model: type[BaseModel]) -> Any:
    """The members of `data` that the log has."""
    members: dict[str, Any] = {
        name: (member.annotation, member)
        for name, member in model.model_fields.items()
        if name not in PERSONAL
    }
    return create_model(f"{model.__name__}Logged", __config__=_TOLD, **members)


def _without_defaults(schema: dict[str, Any]) -> None:
    """A member that was not sent is not there."""
    for member in schema.get("properties", {}).values():
        member.pop("default", None)


_TOLD: Final = ConfigDict(json_schema_extra=_without_defaults)
_TOLD_DATA: Final = {model: _told(model) for model in dict.fromkeys(DATA.values())}


def logged(event_type: str, base: type[BaseModel] = Logged, suffix: str = "Logged") -> Any:
    """The shape of a logged event of a type; `base` may add members to it."""
    return create_model(
        _camel(event_type) + suffix,
        __base__=base,
        type=(_only(TYPE_PREFIX + event_type), ...),
        data=(_TOLD_DATA[DATA[event_type]], ...),
    )


def one_of(shapes: list[Any]) -> Any:
    """A union that its `type` tells apart."""
    return Annotated[reduce(or_, shapes), Field(discriminator="type")]


SentEvent: Final[Any] = one_of([_sent(each) for each in DATA])
LoggedEvent: Final[Any] = one_of([logged(each) for each in DATA])
EventRecord: Final[Any] = one_of([logged(each, Recorded, "Record") for each in DATA])
