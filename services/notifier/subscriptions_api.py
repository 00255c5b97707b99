"""The routes of subscriptions: webhooks in the form of the Standard Webhooks specification."""

import asyncio
import secrets
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, TypeVar
from uuid import UUID

import orjson
from cryptography.exceptions import InvalidTag
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr, ValidationError

from services.notifier import answers
from services.notifier.addresses import ForbiddenAddressError, UnusableUrlError, read_url
from services.notifier.courier import event_body, kept_answer, post_signed
from services.notifier.deliveries import Attempt, Deliveries
from services.notifier.delivering import Delivering, Receivers
from services.notifier.feed import Feed
from services.notifier.posting import Outcome
from services.notifier.signing import (
    Scheme,
    SigningKey,
    UnusableSecretError,
    new_key,
    read_key,
)
from services.notifier.subscriptions import (
    FailingVillage,
    Owner,
    Subscription,
    Subscriptions,
    Why,
)
from shared.access import Principal, Role, require
from shared.documenting import KPU, Asked, Body, Reply, documented, json_answer
from shared.problems import Problem, ProblemError, ProblemType
from shared.web import JsonResponse

MOST_BODY_BYTES: Final = 16 * 1024
MOST_ELECTIONS: Final = 50
MOST_SUBSCRIPTIONS: Final = 50
DEFAULT_LIMIT: Final = 100
MOST_DELIVERIES: Final = 1_000
OVERLAP_HOURS: Final = 24
MOST_OVERLAP_HOURS: Final = 168
RESOLVE_TIMEOUT_S: Final = 5.0
TEST_TYPE: Final = "webhook.test"

NOTICES: Final = {
    Why.GONE: "The receiver answered 410 Gone: nothing more is sent. Resume when it is back.",
    Why.FAILING: "A village's change could not be delivered for three days; `failing` and the"
    " deliveries say which and why. Mend the receiver, then resume: nothing was passed over.",
    Why.REVOKED: "The token that made this subscription is in force no longer. Subscribe anew"
    " with another, from the sequences that `elections` shows.",
    Why.SECRET: "The secret cannot be read with the office's key; rotate the secret, then resume.",
}

Number = Annotated[int, Query(ge=0, le=2**62, description="The last number that the client has.")]
Limit = Annotated[
    int, Query(ge=1, le=MOST_DELIVERIES, description="The most attempts in one answer.")
]


B = TypeVar("B", bound=BaseModel)


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Secret(_Body):
    """What to sign with: a secret, else a scheme to make one for."""

    secret: StrictStr | None = Field(default=None, max_length=200)
    signing: Scheme | None = None


class NewSubscription(_Secret):
    url: StrictStr
    elections: Annotated[list[StrictStr], Field(min_length=1, max_length=MOST_ELECTIONS)]
    after: dict[str, Annotated[StrictInt, Field(ge=0)]] = Field(default_factory=dict)


class Rotation(_Secret):
    overlap_hours: Annotated[StrictInt, Field(ge=0, le=MOST_OVERLAP_HOURS)] = OVERLAP_HOURS


class Resend(_Body):
    election: StrictStr
    after: Annotated[StrictInt, Field(ge=0)]


class _Webhooks:
    """What the routes do, for a principal."""

    def __init__(
        self,
        subscriptions: Subscriptions,
        deliveries: Deliveries,
        feed: Feed,
        receivers: Receivers,
        delivering: Delivering,
    ) -> None:
        self.subscriptions = subscriptions
        self.deliveries = deliveries
        self.changed = delivering.changed
        self._feed = feed
        self._receivers = receivers

    async def subscribe(self, principal: Principal, asked: NewSubscription) -> JsonResponse:
        key = _key(asked, None)
        cursors = await self._cursors(asked)
        await self._require_reachable(asked.url)
        if await self.subscriptions.count(principal.token_id) >= MOST_SUBSCRIPTIONS:
            raise ProblemError(
                Problem(
                    ProblemType.RATE_LIMITED,
                    f"You have {MOST_SUBSCRIPTIONS} subscriptions, which is the most; delete one.",
                )
            )
        made = await self.subscriptions.add(principal.token_id, asked.url, key, cursors, _now())
        self.changed()
        shown = await self.shown(made, principal)
        return JsonResponse(
            {**shown, **_secret_shown(key)},
            status_code=201,
            headers={"Location": f"/v1/subscriptions/{made}", "Cache-Control": "no-store"},
        )

    async def _cursors(self, asked: NewSubscription) -> dict[str, int]:
        ends = {known.election: known.sequence for known in await self._feed.elections()}
        for index, election in enumerate(asked.elections):
            if election not in ends:
                raise _invalid(
                    f"elections.{index}",
                    "There is no feed of this election; GET /v1/elections lists those there are.",
                )
        for election, sequence in asked.after.items():
            if election not in asked.elections:
                raise _invalid("after", "after names an election that is not among elections.")
            _require_within(sequence, ends[election], "after")
        return {election: asked.after.get(election, 0) for election in asked.elections}

    async def _require_reachable(self, url: str) -> None:
        try:
            target = read_url(url)
            async with asyncio.timeout(RESOLVE_TIMEOUT_S):
                await self._receivers.addresses.checked(target)
        except (UnusableUrlError, ForbiddenAddressError) as error:
            raise _invalid("url", f"{error}.") from None
        except (OSError, UnicodeError, TimeoutError):
            raise _invalid(
                "url", "url names a host that cannot be found; see that its name is right."
            ) from None

    async def shown(self, identity: str, principal: Principal) -> answers.OneSubscription:
        """The subscription as its owner sees it. Raises ProblemError where it is not theirs."""
        found = await self.subscriptions.find(identity, _owner(principal))
        if found is None:
            raise ProblemError(
                Problem(
                    ProblemType.NOT_FOUND,
                    "You have no such subscription; GET /v1/subscriptions lists those you have.",
                )
            )
        failing = await self.subscriptions.failing(identity)
        return {**_members(found), "failing": [_failing_members(each) for each in failing]}

    async def resend(self, identity: str, principal: Principal, asked: Resend) -> JsonResponse:
        known = await self._feed.election(asked.election)
        shown = await self.shown(identity, principal)
        if known is None or asked.election not in [e["election"] for e in shown["elections"]]:
            raise _invalid("election", "election is not one that this subscription is for.")
        _require_within(asked.after, known.sequence, "after")
        await self.subscriptions.resend(identity, asked.election, asked.after)
        self.changed()
        return JsonResponse(await self.shown(identity, principal))

    async def rotate(self, identity: str, principal: Principal, asked: Rotation) -> JsonResponse:
        shown = await self.shown(identity, principal)
        key = _key(asked, Scheme(shown["signing"]))
        until = _now() + timedelta(hours=asked.overlap_hours)
        await self.subscriptions.rotate(identity, key, until)
        self.changed()
        shown = await self.shown(identity, principal)
        return JsonResponse({**shown, **_secret_shown(key)}, headers={"Cache-Control": "no-store"})

    async def test(self, identity: str, principal: Principal) -> JsonResponse:
        shown = await self.shown(identity, principal)
        now = _now()
        try:
            keys = await self.subscriptions.keys(identity, now)
        except InvalidTag:
            raise ProblemError(
                Problem(ProblemType.UNAVAILABLE, NOTICES[Why.SECRET], status=409)
            ) from None
        data = orjson.dumps({"subscription": identity})
        poster = self._receivers.poster(shown["url"])
        try:
            event_id = f"msg_{secrets.token_hex(16)}"
            body = event_body(TEST_TYPE, now, data)
            outcome = await post_signed(poster, keys, event_id, body, now)
        finally:
            await poster.close()
        attempt = _test_attempt(now, outcome)
        await self.deliveries.keep(identity, attempt)
        return JsonResponse({"delivered": outcome.delivered, **_outcome_members(attempt)})


# Webhooks may not be set up: every route then answers that, and nothing else.
_OWN: Final = (ProblemType.INVALID, ProblemType.NOT_FOUND, ProblemType.UNAVAILABLE)
_NOW: Final = {
    200: json_answer("The subscription now.", answers.OneSubscription, answers.SUBSCRIPTION)
}
_SUBSCRIBE: Final = {
    "url": "https://receiver.example/cacah",
    "elections": ["pilkada-2024"],
    "after": {"pilkada-2024": 4820},
}


def subscription_routes(
    subscriptions: Subscriptions,
    deliveries: Deliveries,
    feed: Feed,
    receivers: Receivers,
    delivering: Delivering,
) -> APIRouter:
    """The routes; a KPU token sees its own subscriptions, an operator all."""
    router = APIRouter(prefix="/v1/subscriptions")
    webhooks = _Webhooks(subscriptions, deliveries, feed, receivers, delivering)
    _add_subscribing(router, webhooks)
    _add_changing(router, webhooks)
    _add_sending(router, webhooks)
    return router


def _add_subscribing(router: APIRouter, webhooks: _Webhooks) -> None:
    @router.post("", status_code=201, summary="Subscribe a webhook")
    @documented(
        KPU,
        {
            201: json_answer(
                "Subscribed.",
                answers.SecretSubscription,
                answers.SUBSCRIBED,
                Location="The address of the subscription.",
                Cache_Control="`no-store`",
            )
        },
        ProblemType.INVALID,
        ProblemType.TOO_LARGE,
        ProblemType.RATE_LIMITED,
        ProblemType.UNAVAILABLE,
        asked=Asked((Body(_SUBSCRIBE, NewSubscription),)),
    )
    async def subscribe(request: Request) -> JsonResponse:
        """`url` and `elections`; `after` (`{election: sequence}`) to begin elsewhere than with
        the first change; `secret` (`whsec_…`, `whsk_…`) or `signing` (`v1`, `v1a`) to have one
        made. The secret is in this answer and in no other."""
        principal = await require(request, Role.KPU)
        return await webhooks.subscribe(principal, await _read(request, NewSubscription))

    @router.get("", summary="Your subscriptions")
    @documented(
        KPU,
        {200: json_answer("All that are yours.", answers.Subscriptions, answers.SUBSCRIPTIONS)},
        ProblemType.UNAVAILABLE,
    )
    async def subscriptions(request: Request) -> JsonResponse:
        principal = await require(request, Role.KPU)
        found = await webhooks.subscriptions.all(_owner(principal))
        return JsonResponse({"subscriptions": [_members(each) for each in found]})

    @router.get("/{subscription}", summary="One subscription: its state, how far it is, what fails")
    @documented(KPU, _NOW, *_OWN)
    async def subscription(request: Request, subscription: UUID) -> JsonResponse:
        principal = await require(request, Role.KPU)
        return JsonResponse(await webhooks.shown(str(subscription), principal))

    @router.delete("/{subscription}", status_code=204, summary="Delete a subscription")
    @documented(KPU, {204: Reply("It is deleted.")}, *_OWN)
    async def delete(request: Request, subscription: UUID) -> Response:
        principal = await require(request, Role.KPU)
        await webhooks.shown(str(subscription), principal)
        await webhooks.subscriptions.delete(str(subscription))
        webhooks.changed()
        return Response(status_code=204)


def _add_changing(router: APIRouter, webhooks: _Webhooks) -> None:
    @router.post("/{subscription}/pause", summary="Deliver nothing until it is resumed")
    @documented(KPU, _NOW, *_OWN)
    async def pause(request: Request, subscription: UUID) -> JsonResponse:
        principal = await require(request, Role.KPU)
        await webhooks.shown(str(subscription), principal)
        await webhooks.subscriptions.pause(str(subscription), _now())
        webhooks.changed()
        return JsonResponse(await webhooks.shown(str(subscription), principal))

    @router.post("/{subscription}/resume", summary="Deliver again, from where it stopped")
    @documented(KPU, _NOW, *_OWN)
    async def resume(request: Request, subscription: UUID) -> JsonResponse:
        """Also after it was disabled. What failed is tried at once, for three days again."""
        principal = await require(request, Role.KPU)
        await webhooks.shown(str(subscription), principal)
        await webhooks.subscriptions.resume(str(subscription), _now())
        webhooks.changed()
        return JsonResponse(await webhooks.shown(str(subscription), principal))

    @router.post("/{subscription}/secret", summary="Rotate the secret")
    @documented(
        KPU,
        {
            200: json_answer(
                "Signed with both from now on.",
                answers.SecretSubscription,
                answers.SUBSCRIBED,
                Cache_Control="`no-store`",
            )
        },
        *_OWN,
        ProblemType.TOO_LARGE,
        asked=Asked((Body({"overlap_hours": 24}, Rotation),), required=False),
    )
    async def rotate(request: Request, subscription: UUID) -> JsonResponse:
        """For `overlap_hours` (24; 0 ends the old one at once) each delivery is signed with both.
        `secret` and `signing` as when subscribing; an empty object makes another of the kind."""
        principal = await require(request, Role.KPU)
        asked = await _read(request, Rotation)
        return await webhooks.rotate(str(subscription), principal, asked)


def _add_sending(router: APIRouter, webhooks: _Webhooks) -> None:
    @router.post("/{subscription}/test", summary="Send a test event and say what came of it")
    @documented(
        KPU,
        {200: json_answer("What came of it.", answers.Tested, answers.TESTED)},
        *_OWN,
        (ProblemType.UNAVAILABLE, 409),
    )
    async def test(request: Request, subscription: UUID) -> JsonResponse:
        principal = await require(request, Role.KPU)
        return await webhooks.test(str(subscription), principal)

    @router.post("/{subscription}/resend", summary="Send everything after a sequence again")
    @documented(
        KPU,
        _NOW,
        *_OWN,
        ProblemType.TOO_LARGE,
        asked=Asked((Body({"election": "pilkada-2024", "after": 4000}, Resend),)),
    )
    async def resend(request: Request, subscription: UUID) -> JsonResponse:
        """`election` and `after`. In order, and what is new follows."""
        principal = await require(request, Role.KPU)
        asked = await _read(request, Resend)
        return await webhooks.resend(str(subscription), principal, asked)

    @router.post("/{subscription}/resend-failed", summary="Try at once what failed")
    @documented(KPU, _NOW, *_OWN)
    async def resend_failed(request: Request, subscription: UUID) -> JsonResponse:
        principal = await require(request, Role.KPU)
        await webhooks.shown(str(subscription), principal)
        await webhooks.subscriptions.retry_failed(str(subscription), _now())
        webhooks.changed()
        return JsonResponse(await webhooks.shown(str(subscription), principal))

    @router.get("/{subscription}/deliveries", summary="Every attempt, in order")
    @documented(
        KPU,
        {200: json_answer("A page of attempts.", answers.Deliveries, answers.DELIVERIES)},
        *_OWN,
    )
    async def deliveries(
        request: Request, subscription: UUID, after: Number = 0, limit: Limit = DEFAULT_LIMIT
    ) -> JsonResponse:
        """Those of the last 7 days, at most 100,000; `last` is the last number there is."""
        principal = await require(request, Role.KPU)
        await webhooks.shown(str(subscription), principal)
        rows, last = await webhooks.deliveries.page(str(subscription), after, limit)
        return JsonResponse({"deliveries": rows, "last": last})


def disabled_routes() -> APIRouter:
    """What answers where the office has set no key for webhooks."""
    router = APIRouter(prefix="/v1/subscriptions", include_in_schema=False)

    @router.api_route("", methods=["GET", "POST"])
    @router.api_route("/{rest:path}", methods=["GET", "POST", "DELETE"])
    async def unavailable(request: Request) -> Response:
        await require(request, Role.KPU)
        raise ProblemError(
            Problem(
                ProblemType.UNAVAILABLE,
                "Webhooks are not set up here; an operator sets CACAH_WEBHOOK_KEY to 32 random"
                " bytes in base64 and starts the notifier again.",
            )
        )

    return router


async def _read(request: Request, model: type[B]) -> B:
    """The body. The problem names the member at fault and never repeats what was sent."""
    body = await _bounded(request)
    try:
        return model.model_validate(orjson.loads(body or b"{}"))
    except orjson.JSONDecodeError:
        raise _invalid(None, "Send a JSON object, as GET /docs describes it.") from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"] if part != "[key]")
        raise _invalid(field or None, f"{field or 'The body'}: {first['msg']}.") from None


async def _bounded(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MOST_BODY_BYTES:
            raise ProblemError(
                Problem(ProblemType.TOO_LARGE, f"Send at most {MOST_BODY_BYTES} bytes.")
            )
    return bytes(body)


def _key(asked: _Secret, before: Scheme | None) -> SigningKey:
    if asked.secret is None:
        return new_key(asked.signing or before or Scheme.V1)
    try:
        key = read_key(asked.secret)
    except UnusableSecretError as error:
        raise _invalid("secret", f"{error}.") from None
    if asked.signing not in (None, key.scheme):
        raise _invalid("signing", f"signing does not fit the secret, which is of {key.scheme}.")
    return key


def _secret_shown(key: SigningKey) -> dict[str, str]:
    """A private key is no business of the receiver: the public one is among the members."""
    return {"secret": key.secret()} if key.scheme is Scheme.V1 else {}


def _require_within(sequence: int, end: int, field: str) -> None:
    if sequence > end:
        raise _invalid(
            field,
            f"{field} lies beyond the end of the feed, which is {end}: the sequence was probably"
            " taken from another election's feed.",
        )


def _invalid(field: str | None, detail: str) -> ProblemError:
    return ProblemError(Problem(ProblemType.INVALID, detail, field))


def _owner(principal: Principal) -> Owner:
    return Owner(principal.token_id, principal.role is Role.OPERATOR)


def _now() -> datetime:
    return datetime.now(UTC)


def _members(found: Subscription) -> answers.Subscription:
    return {
        "id": found.subscription_id,
        "url": found.url,
        "state": found.state,
        "why": found.why,
        "notice": NOTICES[found.why] if found.why else None,
        "since": found.since,
        "created_at": found.created_at,
        "signing": found.signing,
        "public_key": found.public_key,
        "previous_secret_until": _if_ahead(found.previous_until),
        "elections": [
            {
                "election": place.election,
                "after": place.sequence,
                "last": place.last,
                "failing_villages": place.failing_villages,
            }
            for place in found.places
        ],
    }


def _if_ahead(moment: datetime | None) -> datetime | None:
    return moment if moment is not None and moment > _now() else None


def _failing_members(each: FailingVillage) -> answers.FailingVillage:
    return {
        "election": each.election,
        "village": each.village,
        "sequence": each.sequence,
        "attempts": each.attempts,
        "since": each.since,
        "next_attempt_at": each.next_attempt_at,
    }


def _test_attempt(now: datetime, outcome: Outcome) -> Attempt:
    return Attempt(
        None,
        None,
        None,
        1,
        now,
        outcome.status,
        outcome.fault.value if outcome.fault else None,
        outcome.duration_ms,
        kept_answer(outcome.answer),
    )


def _outcome_members(attempt: Attempt) -> answers.Outcome:
    return {
        "time": attempt.time,
        "status": attempt.status,
        "error": attempt.error,
        "duration_ms": attempt.duration_ms,
        "answer": attempt.answer,
    }
