"""NIK and name: sealed here, and nowhere else in the system.

Everything that a station sent of a person is sealed (AES-256-GCM) with a key of that person's
own, and that key is wrapped by one made from the office's master key. A person is found by a
keyed hash of the NIK, the *subject*. Erasing the wrapped key erases the person from the
database and all its copies, and leaves the counts.
"""

import hashlib
import os
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
SUBJECT_BYTES: Final = 16
FINGERPRINT_BYTES: Final = 20


def _derive(master: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=purpose).derive(master)


def _hashed(keyed: "hashlib.blake2b", content: bytes) -> bytes:
    one = keyed.copy()
    one.update(content)
    return one.digest()


class Vault:
    """Seals and opens. `master_key` is 32 random bytes that the office keeps apart from the
    database; without it nothing sealed can be read again."""

    def __init__(self, master_key: bytes) -> None:
        if len(master_key) != KEY_BYTES:
            raise ValueError(f"the vault's master key must have {KEY_BYTES} bytes")
        # Copied for each hash: the key is then taken in once.
        self._subjects = hashlib.blake2b(
            key=_derive(master_key, b"cacah/subject"), digest_size=SUBJECT_BYTES
        )
        self._contents = hashlib.blake2b(
            key=_derive(master_key, b"cacah/content"), digest_size=FINGERPRINT_BYTES
        )
        self._wrapping = AESGCM(_derive(master_key, b"cacah/wrap"))
        # For what holds no readable NIK and so belongs to nobody in particular.
        self._nobodys = _derive(master_key, b"cacah/nobody")

    def subject_of(self, nik: str) -> bytes:
        """The keyed hash by which a NIK is known outside the vault."""
        return _hashed(self._subjects, nik.encode())

    def fingerprint(self, content: bytes) -> bytes:
        """The keyed hash of a submission's content: equal content, equal hash."""
        return _hashed(self._contents, content)

    def new_key(self) -> bytes:
        return os.urandom(KEY_BYTES)

    def wrap(self, key: bytes, subject: bytes) -> bytes:
        """A person's key as the database keeps it, bound to its subject."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._wrapping.encrypt(nonce, key, subject)

    def unwrap(self, wrapped: bytes, subject: bytes) -> bytes:
        """The key again. Raises cryptography.exceptions.InvalidTag when it is not genuine."""
        return self._wrapping.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], subject)

    def seal(self, content: bytes, key: bytes | None) -> bytes:
        """Content sealed with a person's key, or with nobody's."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + AESGCM(key or self._nobodys).encrypt(nonce, content, None)

    def open(self, sealed: bytes, key: bytes | None) -> bytes:
        """The content again. Raises cryptography.exceptions.InvalidTag when it is not genuine."""
        return AESGCM(key or self._nobodys).decrypt(
            sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], None
        )
