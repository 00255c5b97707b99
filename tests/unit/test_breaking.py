"""What breaks those who build on the interface, and what does not."""

import copy
from typing import Any

import pytest

from cli.documents.breaking import breaking_asyncapi, breaking_openapi

Document = dict[str, Any]

THING: Document = {
    "type": "object",
    "properties": {
        "id": {"type": "integer"},
        "kind": {"enum": ["one", "two"], "type": "string"},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "inner": {"$ref": "#/components/schemas/Inner"},
    },
    "required": ["id", "kind", "note"],
}
ASKED: Document = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string", "maxLength": 100},
        "count": {"type": "integer", "minimum": 1, "maximum": 10},
        "kind": {"enum": ["one", "two"], "type": "string"},
        "many": {"type": "array", "items": {"$ref": "#/components/schemas/Inner"}},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    },
    "required": ["name"],
}
INNER: Document = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}


def openapi() -> Document:
    """An operation that takes a parameter and a body, and answers a thing or a stream of them."""
    thing = {"$ref": "#/components/schemas/Thing"}
    return copy.deepcopy(
        {
            "paths": {
                "/things": {
                    "post": {
                        "parameters": [
                            {
                                "name": "limit",
                                "in": "query",
                                "required": False,
                                "schema": {"type": "integer", "maximum": 100, "default": 50},
                            }
                        ],
                        "requestBody": {
                            "required": True,
                            "content": {
                                "application/json": {
                                    "schema": {"$ref": "#/components/schemas/Asked"}
                                }
                            },
                        },
                        "responses": {
                            "200": {
                                "headers": {"X-Place": {}},
                                "content": {
                                    "application/json": {"schema": thing},
                                    "text/event-stream": {
                                        "schema": {"type": "string", "x-event-data": thing}
                                    },
                                },
                            },
                            "400": {"$ref": "#/components/responses/invalid"},
                        },
                        "security": [{"bearer": ["kpu", "operator"]}],
                    },
                    "get": {"responses": {}, "security": []},
                }
            },
            "components": {
                "schemas": {"Thing": THING, "Asked": ASKED, "Inner": INNER},
                "responses": {"invalid": {"content": {}}},
            },
        }
    )


def operation(document: Document) -> Document:
    found: Document = document["paths"]["/things"]["post"]
    return found


def schemas(document: Document) -> Document:
    found: Document = document["components"]["schemas"]
    return found


def test_the_same_document_breaks_nothing() -> None:
    assert breaking_openapi(openapi(), openapi()) == []


def without_the_path(new: Document) -> None:
    del new["paths"]["/things"]


def without_an_operation(new: Document) -> None:
    del new["paths"]["/things"]["get"]


def without_the_parameter(new: Document) -> None:
    operation(new)["parameters"] = []


def with_a_smaller_limit(new: Document) -> None:
    operation(new)["parameters"][0]["schema"]["maximum"] = 50


def with_a_needed_parameter(new: Document) -> None:
    added = {"name": "since", "in": "query", "required": True, "schema": {"type": "string"}}
    operation(new)["parameters"].append(added)


def with_the_parameter_needed(new: Document) -> None:
    operation(new)["parameters"][0]["required"] = True


def with_a_token(new: Document) -> None:
    new["paths"]["/things"]["get"]["security"] = [{"bearer": ["operator"]}]


def for_operators_alone(new: Document) -> None:
    operation(new)["security"] = [{"bearer": ["operator"]}]


def with_another_media_type_alone(new: Document) -> None:
    body = operation(new)["requestBody"]["content"]
    body["application/xml"] = body.pop("application/json")


def with_another_default(new: Document) -> None:
    operation(new)["parameters"][0]["schema"]["default"] = 20


def without_the_body(new: Document) -> None:
    del operation(new)["requestBody"]


def with_a_body_that_must_be_sent(new: Document) -> None:
    body = operation(new)["requestBody"]
    new["paths"]["/things"]["get"]["requestBody"] = copy.deepcopy(body)


def without_the_success(new: Document) -> None:
    replies = operation(new)["responses"]
    replies["202"] = replies.pop("200")


def without_the_header(new: Document) -> None:
    del operation(new)["responses"]["200"]["headers"]["X-Place"]


def without_a_member_of_the_answer(new: Document) -> None:
    del schemas(new)["Thing"]["properties"]["kind"]


def with_a_member_that_may_be_missing(new: Document) -> None:
    schemas(new)["Thing"]["required"].remove("id")


def with_another_type_in_the_answer(new: Document) -> None:
    schemas(new)["Thing"]["properties"]["id"] = {"type": "string"}


def with_null_in_the_answer(new: Document) -> None:
    schemas(new)["Thing"]["properties"]["id"] = {"anyOf": [{"type": "integer"}, {"type": "null"}]}


def with_other_values_alone_in_the_answer(new: Document) -> None:
    schemas(new)["Thing"]["properties"]["kind"] = {"enum": ["three"], "type": "string"}


def with_a_needed_member_of_the_body(new: Document) -> None:
    schemas(new)["Asked"]["properties"]["why"] = {"type": "string"}
    schemas(new)["Asked"]["required"] = ["name", "why"]


def with_a_member_of_the_body_needed(new: Document) -> None:
    schemas(new)["Asked"]["required"] = ["name", "count"]


def without_a_member_of_the_body(new: Document) -> None:
    del schemas(new)["Asked"]["properties"]["count"]


def with_fewer_values_in_the_body(new: Document) -> None:
    schemas(new)["Asked"]["properties"]["kind"]["enum"] = ["one"]


def with_shorter_texts_in_the_body(new: Document) -> None:
    schemas(new)["Asked"]["properties"]["name"]["maxLength"] = 50


def with_a_form_in_the_body(new: Document) -> None:
    schemas(new)["Asked"]["properties"]["name"]["pattern"] = "^[a-z]+$"


def with_certain_values_alone_in_the_body(new: Document) -> None:
    schemas(new)["Asked"]["properties"]["name"]["enum"] = ["one"]


def with_a_larger_least_number_in_the_body(new: Document) -> None:
    schemas(new)["Asked"]["properties"]["count"]["minimum"] = 2


def without_null_in_the_body(new: Document) -> None:
    schemas(new)["Asked"]["properties"]["note"] = {"type": "string"}


def without_members_of_ones_own_in_the_body(new: Document) -> None:
    schemas(new)["Inner"]["additionalProperties"] = False


def with_other_alternatives_in_the_answer(new: Document) -> None:
    alternative = {"$ref": "#/components/schemas/Inner"}
    schemas(new)["Thing"]["properties"]["note"] = {"anyOf": [alternative]}


def with_another_inner_type(new: Document) -> None:
    schemas(new)["Inner"]["properties"]["x"] = {"type": "string"}


BREAKS = [
    (without_the_path, "/things is gone"),
    (without_an_operation, "GET /things is gone"),
    (without_the_parameter, "POST /things parameter limit is gone"),
    (with_a_smaller_limit, "POST /things parameter limit: maximum is 50 now"),
    (with_a_needed_parameter, "POST /things parameter since is new and must be sent"),
    (with_the_parameter_needed, "POST /things parameter limit must be sent now"),
    (with_a_token, "GET /things needs a token now"),
    (for_operators_alone, "POST /things is no longer for tokens of kpu"),
    (with_another_media_type_alone, "POST /things body application/json is gone"),
    (with_another_default, "POST /things parameter limit: left out it means 20 now"),
    (without_the_body, "POST /things body is gone"),
    (with_a_body_that_must_be_sent, "GET /things body is new and must be sent"),
    (without_the_success, "POST /things no longer answers 200"),
    (without_the_header, "POST /things 200 header X-Place is gone"),
    (without_a_member_of_the_answer, "POST /things 200 .kind is gone"),
    (with_a_member_that_may_be_missing, "POST /things 200 .id may be left out now"),
    (with_another_type_in_the_answer, "POST /things 200 .id is string and was integer"),
    (with_null_in_the_answer, "POST /things 200 .id may be null now"),
    (with_other_values_alone_in_the_answer, "POST /things 200 .kind is never 'one' any more"),
    (with_a_needed_member_of_the_body, "POST /things body .why is new and must be sent"),
    (with_a_member_of_the_body_needed, "POST /things body .count must be sent now"),
    (without_a_member_of_the_body, "POST /things body .count is gone"),
    (with_fewer_values_in_the_body, "POST /things body .kind no longer takes 'two'"),
    (with_shorter_texts_in_the_body, "POST /things body .name: maxLength is 50 now"),
    (with_a_form_in_the_body, "POST /things body .name: pattern is ^[a-z]+$ now"),
    (
        with_certain_values_alone_in_the_body,
        "POST /things body .name takes certain values alone now",
    ),
    (with_a_larger_least_number_in_the_body, "POST /things body .count: minimum is 2 now"),
    (without_null_in_the_body, "POST /things body .note may no longer be null"),
    (
        without_members_of_ones_own_in_the_body,
        "POST /things body .many[] takes no other members now",
    ),
    (with_other_alternatives_in_the_answer, "POST /things 200 .note is no longer string, null"),
    (with_another_inner_type, "POST /things body .many[] .x is string and was integer"),
]


@pytest.mark.parametrize(("change", "said"), [pytest.param(c, s, id=c.__name__) for c, s in BREAKS])
def test_what_takes_something_away_is_named(change: Any, said: str) -> None:
    new = openapi()
    change(new)
    assert said in breaking_openapi(openapi(), new)


def test_a_body_that_could_be_left_out_and_must_be_sent_now_is_named() -> None:
    old = openapi()
    operation(old)["requestBody"]["required"] = False
    assert breaking_openapi(old, openapi()) == ["POST /things body must be sent now"]
    assert breaking_openapi(openapi(), old) == []


def test_a_break_in_what_a_stream_carries_is_named() -> None:
    new = openapi()
    del operation(new)["responses"]["200"]["content"]["application/json"]
    without_a_member_of_the_answer(new)
    assert "POST /things 200 event .kind is gone" in breaking_openapi(openapi(), new)


def a_new_path(new: Document) -> None:
    new["paths"]["/others"] = copy.deepcopy(new["paths"]["/things"])


def a_new_parameter(new: Document) -> None:
    added = {"name": "since", "in": "query", "required": False, "schema": {"type": "string"}}
    operation(new)["parameters"].append(added)


def a_larger_limit(new: Document) -> None:
    operation(new)["parameters"][0]["schema"]["maximum"] = 1_000


def more_roles(new: Document) -> None:
    operation(new)["security"][0]["bearer"].append("station")


def no_token(new: Document) -> None:
    operation(new)["security"] = []


def a_new_member_of_the_answer(new: Document) -> None:
    schemas(new)["Thing"]["properties"]["more"] = {"type": "string"}


def a_new_value_in_the_answer(new: Document) -> None:
    schemas(new)["Thing"]["properties"]["kind"]["enum"].append("three")


def a_member_of_the_answer_that_is_always_there(new: Document) -> None:
    schemas(new)["Thing"]["required"].append("inner")


def a_member_that_is_null_no_longer(new: Document) -> None:
    schemas(new)["Thing"]["properties"]["note"] = {"type": "string"}


def a_new_member_of_the_body(new: Document) -> None:
    schemas(new)["Asked"]["properties"]["why"] = {"type": "string"}


def a_member_of_the_body_that_may_be_null(new: Document) -> None:
    schemas(new)["Asked"]["properties"]["name"] = {"anyOf": [{"type": "string"}, {"type": "null"}]}


def a_new_value_in_the_body(new: Document) -> None:
    schemas(new)["Asked"]["properties"]["kind"]["enum"].append("three")


def a_refusal_less(new: Document) -> None:
    del operation(new)["responses"]["400"]


def another_name_of_a_component(new: Document) -> None:
    schemas(new)["Renamed"] = schemas(new).pop("Thing")
    content = operation(new)["responses"]["200"]["content"]
    content["application/json"]["schema"] = {"$ref": "#/components/schemas/Renamed"}
    content["text/event-stream"]["schema"]["x-event-data"] = content["application/json"]["schema"]


ADDITIONS = [
    a_new_path,
    a_new_parameter,
    a_larger_limit,
    more_roles,
    no_token,
    a_new_member_of_the_answer,
    a_new_value_in_the_answer,
    a_member_of_the_answer_that_is_always_there,
    a_member_that_is_null_no_longer,
    a_new_member_of_the_body,
    a_member_of_the_body_that_may_be_null,
    a_new_value_in_the_body,
    a_refusal_less,
    another_name_of_a_component,
]


@pytest.mark.parametrize("change", ADDITIONS)
def test_what_adds_or_allows_more_breaks_nothing(change: Any) -> None:
    new = openapi()
    change(new)
    assert breaking_openapi(openapi(), new) == []


def event(kind: str, **members: Any) -> Document:
    return {
        "type": "object",
        "properties": {"type": {"const": kind, "type": "string"}, **members},
        "required": ["type", *members],
    }


def asyncapi() -> Document:
    return copy.deepcopy(
        {
            "channels": {
                "things": {
                    "address": "things",
                    "bindings": {"kafka": {"partitions": 12}},
                    "messages": {"thing": {"$ref": "#/components/messages/thing"}},
                }
            },
            "components": {
                "messages": {
                    "thing": {
                        "payload": {
                            "oneOf": [
                                {"$ref": "#/components/schemas/Born"},
                                {"$ref": "#/components/schemas/Died"},
                            ]
                        },
                        "headers": {"type": "object", "properties": {"id": {"type": "string"}}},
                        "bindings": {"kafka": {"key": {"type": "string"}}},
                    }
                },
                "schemas": {
                    "Born": event("born", at={"type": "string"}),
                    "Died": event("died", at={"type": "string"}),
                },
            },
        }
    )


def without_the_channel(new: Document) -> None:
    del new["channels"]["things"]


def with_another_address(new: Document) -> None:
    new["channels"]["things"]["address"] = "stuff"


def with_more_partitions(new: Document) -> None:
    new["channels"]["things"]["bindings"]["kafka"]["partitions"] = 24


def without_the_message(new: Document) -> None:
    new["channels"]["things"]["messages"] = {}


def without_a_member_of_one_kind(new: Document) -> None:
    del schemas(new)["Died"]["properties"]["at"]


def with_another_header(new: Document) -> None:
    new["components"]["messages"]["thing"]["headers"]["properties"] = {}


def with_another_key(new: Document) -> None:
    key = {"type": "integer"}
    new["components"]["messages"]["thing"]["bindings"]["kafka"]["key"] = key


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without_the_channel, "channel things is gone"),
        (with_another_address, "channel things has another address, stuff"),
        (with_more_partitions, "channel things has other bindings: keys may be elsewhere now"),
        (without_the_message, "channel things: thing is gone"),
        (without_a_member_of_one_kind, "thing payload (Died) .at is gone"),
        (with_another_header, "thing headers .id is gone"),
        (with_another_key, "thing key is integer and was string"),
    ],
)
def test_what_a_topic_loses_is_named(change: Any, said: str) -> None:
    new = asyncapi()
    change(new)
    assert said in breaking_asyncapi(asyncapi(), new)


def test_a_new_kind_of_event_and_a_new_channel_break_nothing() -> None:
    new = asyncapi()
    schemas(new)["Moved"] = event("moved")
    kinds = new["components"]["messages"]["thing"]["payload"]["oneOf"]
    kinds.append({"$ref": "#/components/schemas/Moved"})
    new["channels"]["others"] = {"address": "others", "messages": {}}
    assert breaking_asyncapi(asyncapi(), new) == []


def test_a_schema_that_holds_itself_comes_to_an_end() -> None:
    old, new = openapi(), openapi()
    for each in (old, new):
        schemas(each)["Inner"]["properties"]["next"] = {"$ref": "#/components/schemas/Inner"}
    with_another_inner_type(new)
    assert breaking_openapi(old, new) != []
