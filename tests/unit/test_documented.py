"""The judge of real answers sees what is not as documented."""

from typing import Any

import httpx
import pytest

from services.registry import answers
from tests.support.builders import recorded, registered
from tests.support.documented import Interface

JSON = {"content-type": "application/json", "x-request-id": "1"}
SINGLE = {"content-type": "application/cloudevents+json"}
PROBLEM = {"content-type": "application/problem+json", "x-request-id": "1"}


def answered(
    status: int, answer: Any, headers: dict[str, str] = JSON, sent: Any = None, **given: Any
) -> list[str]:
    """What the judge says of an answer to an event that was sent."""
    url = f"http://registry{given.get('path', '/v1/events')}"
    event = registered() if sent is None else sent
    request = httpx.Request(given.get("method", "POST"), url, json=event, headers=SINGLE)
    response = httpx.Response(status, headers=headers, json=answer, request=request)
    return Interface("registry").faults(response)


def test_what_is_as_documented_is_no_fault() -> None:
    assert answered(201, answers.ACCEPTED) == []
    assert answered(200, answers.DUPLICATE) == []
    assert answered(422, answers.REJECTED["problem"], PROBLEM) == []


@pytest.mark.parametrize(
    ("fault", "part"),
    [
        (answered(201, answers.ACCEPTED | {"weather": "fine"}), "$: additionalProperties"),
        (answered(201, {"source": "x", "id": "y"}), "$: required"),
        (answered(201, answers.ACCEPTED | {"position": "7"}), "$.position: type"),
        (answered(201, answers.ACCEPTED | {"outcome": "lost"}), "$.outcome: enum"),
        (answered(201, answers.ACCEPTED | {"warnings": ["odd"]}), "$.warnings[0]: enum"),
        (answered(204, answers.ACCEPTED), "this status is not documented"),
        (answered(201, answers.ACCEPTED, PROBLEM), "media type application/problem+json"),
        (answered(201, answers.ACCEPTED, {"content-type": "application/json"}), "X-Request-Id"),
        (answered(201, answers.ACCEPTED, sent=recorded(nik="1")), "sent $: oneOf"),
        (answered(409, answers.REJECTED["problem"], PROBLEM), "$.type: enum"),
        (answered(201, answers.ACCEPTED, path="/v1/nothing"), "is not documented"),
        (answered(201, answers.ACCEPTED, method="PUT"), "is not documented"),
    ],
)
def test_what_is_not_as_documented_is_named(fault: list[str], part: str) -> None:
    assert any(part in each for each in fault), fault


def test_an_address_without_parameters_is_not_taken_for_one_with_them() -> None:
    found = Interface("registry").operation("POST", "/v1/parked/retry")
    assert found is not None
    assert found[0] == "/v1/parked/retry"
