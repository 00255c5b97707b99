"""The AsyncAPI document: the topics that others may read, and the webhooks.

The examples are written by the codecs themselves, so that they are what goes out.
"""

from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import orjson

from services.notifier import answers as told
from services.notifier.courier import EVENT_TYPE, event_body, message_id
from services.notifier.signing import SECRET_PREFIX, read_key, signature_header
from services.notifier.subscriptions_api import TEST_TYPE
from services.projections.announcing import announcement
from services.projections.change_record import ChangeRecord
from services.projections.domain.tally import TallyChange
from services.registry.answers import LOGGED
from services.registry.event_shapes import EventRecord, PublishedUpTo
from shared.counts import VillageKey
from shared.elections import PILKADA_2024
from shared.events.codec import VERSION as FORM_VERSION
from shared.events.records import LogEntry, write_event, write_published
from shared.openapi import Shapes
from shared.shapes import EXAMPLE_BEFORE, EXAMPLE_COUNTS, VillageCode
from shared.topics import PARTITIONS, POPULATION_EVENTS, VOTER_CHANGES
from shared.traces import RECEIVED_HEADER
from shared.web import VERSION

Document = dict[str, Any]

_MOMENT: Final = datetime(2024, 6, 24, 2, 40, tzinfo=UTC)
_SECRET: Final = SECRET_PREFIX + "QUJD" * 8

_ENTRY: Final = LogEntry(
    LOGGED["position"],
    datetime.fromisoformat(LOGGED["recorded_at"]),
    LOGGED["type"],
    FORM_VERSION,
    LOGGED["time"],
    LOGGED["source"],
    LOGGED["id"],
    UUID(LOGGED["resident_id"]),
    orjson.dumps(LOGGED["data"]).decode(),
)
_TALLY_CHANGE: Final = TallyChange(
    VillageKey(PILKADA_2024.id, "15.01.16.2001"),
    revision=31,
    position=_ENTRY.position,
    recorded_at=_MOMENT,
    before=EXAMPLE_BEFORE,
    after=EXAMPLE_COUNTS,
)


def asyncapi_document() -> Document:
    """The document."""
    shapes = Shapes()
    document: Document = {
        "asyncapi": "3.0.0",
        "info": {
            "title": "cacah",
            "version": VERSION,
            "description": "What cacah publishes: the population's events and the villages' changes"
            " on Kafka, and the changes that KPU's webhooks are told. No NIK and no name is in any"
            " of it. Leave members, types and records that you do not know alone: more may come."
            " What the topic `voter.persons` carries is between the services and may change.",
        },
        "defaultContentType": "application/json",
        "servers": {
            "kafka": {
                "host": "localhost:19092",
                "protocol": "kafka",
                "description": "The office's broker, as the local stack has it.",
            },
            "receiver": {
                "host": "{receiver}",
                "protocol": "https",
                "variables": {"receiver": {"description": "The host of a subscription's `url`."}},
                "description": "Whoever subscribed at the notifier, POST /v1/subscriptions.",
            },
        },
        "channels": _channels(),
        "operations": {
            "publishEvents": _sends("populationEvents", "The registry publishes its log."),
            "announceChanges": _sends("voterChanges", "Projections announce tallies."),
            "deliverWebhooks": _sends("webhooks", "The notifier posts to subscribers."),
        },
        "components": {"messages": _messages(shapes)},
    }
    document["components"]["schemas"] = shapes.resolve(document)
    _name_discriminators(document)
    return document


def _name_discriminators(node: Any) -> None:
    """AsyncAPI wants the member's name alone, where OpenAPI has an object."""
    if isinstance(node, dict):
        if isinstance(found := node.get("discriminator"), dict):
            node["discriminator"] = found["propertyName"]
        for value in node.values():
            _name_discriminators(value)
    elif isinstance(node, list):
        for value in node:
            _name_discriminators(value)


def _channels() -> Document:
    return {
        "populationEvents": _topic(
            POPULATION_EVENTS,
            "The event log, in order within a partition; all of a resident's events are in one."
            " Records may come again: drop what is not beyond the last `position` of the partition."
            " After a loss of the broker the whole log is published again.",
            "event",
            "publishedUpTo",
        ),
        "voterChanges": _topic(
            VOTER_CHANGES,
            "The changes of each village's tally, in order within a village. Records may come"
            " again: drop what is not above the last `revision` of the village. After a loss of the"
            " broker each village begins with its last revision, `before` being zeros. Who wants"
            " numbered changes without a gap follows the notifier.",
            "villageChange",
        ),
        "webhooks": {
            "address": None,
            "title": "Webhooks",
            "description": "The address is the subscription's `url`. At least once; in order within"
            " a village; as the Standard Webhooks specification says. docs/webhooks.md says how to"
            " receive them.",
            "servers": [{"$ref": "#/servers/receiver"}],
            "messages": _message_refs("voterChange", "webhookTest"),
            "bindings": {"http": {"bindingVersion": "0.3.0"}},
        },
    }


def _topic(name: str, says: str, *messages: str) -> Document:
    return {
        "address": name,
        "title": name,
        "description": says,
        "servers": [{"$ref": "#/servers/kafka"}],
        "messages": _message_refs(*messages),
        "bindings": {"kafka": {"topic": name, "partitions": PARTITIONS, "bindingVersion": "0.5.0"}},
    }


# Beside the value, so that a record that is published twice is the same twice.
_EVENT_HEADERS: Final[Document] = {
    "type": "object",
    "properties": {
        RECEIVED_HEADER: {
            "type": "string",
            "format": "date-time",
            "example": "2024-06-24T02:39:59.990000+00:00",
            "description": "When the registry had received the event; not there where it is"
            " published again.",
        }
    },
}


def _message_refs(*names: str) -> Document:
    return {name: {"$ref": f"#/components/messages/{name}"} for name in names}


def _sends(channel: str, says: str) -> Document:
    return {"action": "send", "channel": {"$ref": f"#/channels/{channel}"}, "summary": says}


def _messages(shapes: Shapes) -> Document:
    change = event_body(EVENT_TYPE, _MOMENT, orjson.dumps(told.CHANGE))
    test = event_body(TEST_TYPE, _MOMENT, orjson.dumps({"subscription": told.SUBSCRIPTION_ID}))
    sequence = told.CHANGE["sequence"]
    return {
        "event": _record(
            "An entry of the log",
            shapes.of(EventRecord, "serialization"),
            write_event(_ENTRY, 120_301),
            shapes.of(UUID, "serialization") | {"description": "The `resident_id`."},
            _EVENT_HEADERS,
        ),
        "publishedUpTo": _record(
            "Everything up to a position is published; sent to each partition, without a key",
            shapes.of(PublishedUpTo, "serialization"),
            write_published(_ENTRY.position, 120_301),
        ),
        "villageChange": _record(
            "A change of a village's tally",
            shapes.of(ChangeRecord, "serialization"),
            announcement(_TALLY_CHANGE, PILKADA_2024).value,
            shapes.of(VillageCode, "serialization") | {"description": "The village."},
        ),
        "voterChange": _webhook(
            shapes,
            "A change of a village's tally, as the notifier numbers it",
            told.VoterChangeEvent,
            message_id(PILKADA_2024.id, sequence),
            change,
        ),
        "webhookTest": _webhook(
            shapes,
            "What POST /v1/subscriptions/{id}/test sends",
            told.WebhookTest,
            "msg_test",
            test,
        ),
    }


def _record(
    title: str,
    payload: Document,
    value: bytes,
    key: Document | None = None,
    headers: Document | None = None,
) -> Document:
    message = {
        "title": title,
        "contentType": "application/json",
        "payload": payload,
        "examples": [{"payload": orjson.loads(value)}],
    }
    if headers is not None:
        named = {name: header["example"] for name, header in headers["properties"].items()}
        message |= {"headers": headers}
        message["examples"] = [{"headers": named, "payload": orjson.loads(value)}]
    if key is None:
        return message
    return message | {"bindings": {"kafka": {"key": key, "bindingVersion": "0.5.0"}}}


def _webhook(shapes: Shapes, title: str, payload: Any, identity: str, body: bytes) -> Document:
    moment = int(_MOMENT.timestamp())
    headers = {
        "webhook-id": identity,
        "webhook-timestamp": str(moment),
        "webhook-signature": signature_header([read_key(_SECRET)], identity, moment, body),
    }
    return {
        "title": title,
        "contentType": "application/json",
        "headers": shapes.of(told.WebhookHeaders, "serialization"),
        "payload": shapes.of(payload, "serialization"),
        "examples": [{"headers": headers, "payload": orjson.loads(body)}],
    }
