"""Signatures, verified by the specification's own library and by Ed25519 itself."""

import base64
import json
import time

import pytest
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from services.notifier.signing import (
    Scheme,
    SecretBox,
    SigningKey,
    UnusableSecretError,
    new_key,
    read_key,
    signature_header,
)

BODY = b'{"type":"voter.change","data":{"sequence":1}}'
EVENT_ID = "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W"


def headers(*keys: SigningKey) -> dict[str, str]:
    now = int(time.time())
    return {
        "webhook-id": EVENT_ID,
        "webhook-timestamp": str(now),
        "webhook-signature": signature_header(keys, EVENT_ID, now, BODY),
    }


def secret_of(length: int) -> str:
    return "whsec_" + base64.b64encode(b"s" * length).decode()


def test_the_published_library_verifies_a_symmetric_signature() -> None:
    key = new_key(Scheme.V1)
    assert Webhook(key.secret()).verify(BODY, headers(key)) == json.loads(BODY)
    with pytest.raises(WebhookVerificationError):
        Webhook(key.secret()).verify(BODY + b" ", headers(key))
    with pytest.raises(WebhookVerificationError):
        Webhook(new_key(Scheme.V1).secret()).verify(BODY, headers(key))


def test_while_a_secret_is_rotated_both_verify() -> None:
    new, old = new_key(Scheme.V1), new_key(Scheme.V1)
    for key in (new, old):
        Webhook(key.secret()).verify(BODY, headers(new, old))


def test_the_library_finds_its_own_beside_an_asymmetric_signature() -> None:
    new, old = new_key(Scheme.V1A), new_key(Scheme.V1)
    Webhook(old.secret()).verify(BODY, headers(new, old))


def test_the_public_key_verifies_an_asymmetric_signature() -> None:
    key = new_key(Scheme.V1A)
    public = key.public_key()
    assert public is not None
    assert public.startswith("whpk_")
    header = signature_header([key], EVENT_ID, 1_674_087_231, BODY)
    scheme, _, signature = header.partition(",")
    assert scheme == "v1a"
    verifier = Ed25519PublicKey.from_public_bytes(base64.b64decode(public[5:]))
    signed = f"{EVENT_ID}.1674087231.".encode() + BODY
    verifier.verify(base64.b64decode(signature), signed)
    with pytest.raises(InvalidSignature):
        verifier.verify(base64.b64decode(signature), signed + b" ")


@pytest.mark.parametrize("length", [24, 32, 64])
def test_a_secret_of_24_to_64_bytes_is_taken_as_given(length: int) -> None:
    assert read_key(secret_of(length)).secret() == secret_of(length)


@pytest.mark.parametrize("length", [0, 1, 23, 65, 1000])
def test_a_secret_too_short_or_long_is_refused(length: int) -> None:
    with pytest.raises(UnusableSecretError, match="24 to 64 random ones"):
        read_key(secret_of(length))


@pytest.mark.parametrize("written", ["", "geheim", "whsec_@@@", "whsec_é", "whsk_", "whpk_AAAA"])
def test_what_is_no_secret_is_refused_with_what_to_do(written: str) -> None:
    with pytest.raises(UnusableSecretError, match=r"leave it out|left out"):
        read_key(written)


def test_an_ed25519_key_is_taken_as_its_seed_alone_or_with_its_public_half() -> None:
    key = new_key(Scheme.V1A)
    public = key.public_key()
    assert public is not None
    both = key.material + base64.b64decode(public[5:])
    assert read_key(key.secret()) == key
    assert read_key("whsk_" + base64.b64encode(both).decode()) == key
    with pytest.raises(UnusableSecretError, match="Ed25519"):
        read_key("whsk_" + base64.b64encode(key.material + b"x" * 32).decode())


def test_a_sealed_key_opens_for_its_own_subscription_with_the_same_master_key_alone() -> None:
    key, box = new_key(Scheme.V1), SecretBox(b"m" * 32)
    sealed = box.seal(key, "one")
    assert key.material not in sealed
    assert box.open(sealed, "one") == key
    for other, subscription in ((box, "two"), (SecretBox(b"n" * 32), "one")):
        with pytest.raises(InvalidTag):
            other.open(sealed, subscription)


def test_a_key_shown_in_a_log_does_not_show_its_secret() -> None:
    key = read_key(secret_of(32))
    assert "sss" not in repr(key)
    assert secret_of(32) not in repr(key)
