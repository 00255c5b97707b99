"""Signatures of the Standard Webhooks specification, and the keys they are made with.

A symmetric secret is `whsec_` and 24 to 64 bytes in base64; its signatures (`v1`) are HMAC-SHA256.
An Ed25519 key is `whsk_` (`whpk_` its public half) and makes signatures `v1a`. Both sign
`{id}.{timestamp}.{body}`.
"""

import base64
import binascii
import hashlib
import hmac
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

SECRET_PREFIX: Final = "whsec_"  # noqa: S105, it is public
PRIVATE_PREFIX: Final = "whsk_"
PUBLIC_PREFIX: Final = "whpk_"

LEAST_SECRET_BYTES: Final = 24
MOST_SECRET_BYTES: Final = 64
NEW_SECRET_BYTES: Final = 32
SEED_BYTES: Final = 32
NONCE_BYTES: Final = 12


class Scheme(StrEnum):
    """How deliveries are signed, as the specification's signature identifiers."""

    V1 = "v1"
    V1A = "v1a"


class UnusableSecretError(ValueError):
    """The secret cannot be used; the message says what to send instead."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key: the bytes of a symmetric secret, or the seed of an Ed25519 key."""

    scheme: Scheme
    material: bytes = field(repr=False)

    def sign(self, signed: bytes) -> str:
        """One signature as it stands in the header."""
        if self.scheme is Scheme.V1:
            signature = hmac.new(self.material, signed, hashlib.sha256).digest()
        else:
            signature = Ed25519PrivateKey.from_private_bytes(self.material).sign(signed)
        return f"{self.scheme},{_base64(signature)}"

    def public_key(self) -> str | None:
        """What the receiver of an asymmetric signature verifies it with."""
        if self.scheme is Scheme.V1:
            return None
        return PUBLIC_PREFIX + _base64(_public_bytes(self.material))

    def secret(self) -> str:
        """The secret as a person keeps it."""
        prefix = SECRET_PREFIX if self.scheme is Scheme.V1 else PRIVATE_PREFIX
        return prefix + _base64(self.material)


def new_key(scheme: Scheme) -> SigningKey:
    """A random key."""
    length = NEW_SECRET_BYTES if scheme is Scheme.V1 else SEED_BYTES
    return SigningKey(scheme, secrets.token_bytes(length))


def read_key(written: str) -> SigningKey:
    """A secret that a subscriber gave. Raises UnusableSecretError."""
    if written.startswith(SECRET_PREFIX):
        return _read_symmetric(_bytes_of(written.removeprefix(SECRET_PREFIX)))
    if written.startswith(PRIVATE_PREFIX):
        return _read_private(_bytes_of(written.removeprefix(PRIVATE_PREFIX)))
    raise UnusableSecretError(
        f"secret begins with {SECRET_PREFIX} (or {PRIVATE_PREFIX} for an Ed25519 key), followed"
        " by base64; leave it out to have one made"
    )


def _read_symmetric(material: bytes) -> SigningKey:
    if not LEAST_SECRET_BYTES <= len(material) <= MOST_SECRET_BYTES:
        raise UnusableSecretError(
            f"secret holds {len(material)} bytes; it must hold {LEAST_SECRET_BYTES} to"
            f" {MOST_SECRET_BYTES} random ones, or be left out to have one made"
        )
    return SigningKey(Scheme.V1, material)


def _read_private(material: bytes) -> SigningKey:
    """The 32 bytes of the seed, or with the 32 of the public key after them."""
    seed, public = material[:SEED_BYTES], material[SEED_BYTES:]
    if len(seed) != SEED_BYTES or public not in (b"", _public_bytes(seed)):
        raise UnusableSecretError(
            f"secret is not an Ed25519 key: {PRIVATE_PREFIX} and the base64 of its"
            f" {SEED_BYTES} bytes; leave it out to have one made"
        )
    return SigningKey(Scheme.V1A, seed)


def signature_header(
    keys: Sequence[SigningKey], message_id: str, timestamp: int, body: bytes
) -> str:
    """The header `webhook-signature`: one signature by each key."""
    signed = b"%s.%d.%s" % (message_id.encode(), timestamp, body)
    return " ".join(key.sign(signed) for key in keys)


class SecretBox:
    """Seals the keys of subscriptions for the database; each can be opened for its own alone."""

    def __init__(self, master_key: bytes) -> None:
        self._cipher = AESGCM(master_key)

    def seal(self, key: SigningKey, subscription_id: str) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, key.secret().encode(), subscription_id.encode())

    def open(self, sealed: bytes, subscription_id: str) -> SigningKey:
        """Raises cryptography.exceptions.InvalidTag where it was sealed with another key."""
        nonce, content = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
        return read_key(self._cipher.decrypt(nonce, content, subscription_id.encode()).decode())

    def open_previous(self, sealed: bytes | None, subscription_id: str) -> SigningKey | None:
        """The key of before a rotation, none where it cannot be read: after the office's key was
        lost, the new one signs alone."""
        try:
            return self.open(sealed, subscription_id) if sealed is not None else None
        except InvalidTag:
            return None


def _public_bytes(seed: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def _bytes_of(written: str) -> bytes:
    try:
        return base64.b64decode(written + "=" * (-len(written) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise UnusableSecretError(
            "secret is not base64 after its prefix; leave it out to have one made"
        ) from None


def _base64(material: bytes) -> str:
    return base64.b64encode(material).decode()
