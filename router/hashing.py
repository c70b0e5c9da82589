"""Keyed hashes, so that nobody who lists a bucket reads phone numbers.

The key is `POINTSMAN_HASH_KEY` where set, else made at the first start and kept in NATS for all routers.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from functools import lru_cache

from channels.model import Recipient
from router import topology
from router.buckets import Bucket
from router.jetstream import JetStream, WrongSequenceError

#: Addresses whose keys are remembered: each is asked for in several buckets, and again before it is sent to.
_REMEMBERED = 4_096
_BLOCK = 64  #: bytes, of SHA-256


class Hasher:
    """Keyed hashes of addresses, and unguessable tokens of attempts."""

    def __init__(self, key: bytes) -> None:
        # HMAC (RFC 2104) with what depends on the key done once, which is half of it for texts as short as these.
        padded = (hashlib.sha256(key).digest() if len(key) > _BLOCK else key).ljust(_BLOCK, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in padded))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in padded))
        self._remembered = lru_cache(maxsize=_REMEMBERED)(self._key_of)

    def recipient(self, recipient: Recipient) -> str:
        """The key under which a recipient is stored."""
        return self._remembered(recipient.address)

    def token(self, source: str, notification_id: str, attempt: int) -> str:
        """For the status-callback URL: nobody who does not know the key can name an attempt."""
        return self._hash(f"attempt:{source}.{notification_id}.{attempt}")[:24]

    def _key_of(self, address: str) -> str:
        return self._hash(address)[:32]

    def _hash(self, text: str) -> str:
        """HMAC-SHA256."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(text.encode())
        outer.update(inner.digest())
        return outer.hexdigest()


async def load_hasher(js: JetStream, prefix: str, environ: Mapping[str, str]) -> Hasher:
    """The deployment's key: from the environment, else from NATS, made there by whoever starts first."""
    if given := environ.get("POINTSMAN_HASH_KEY"):
        return Hasher(given.encode())
    bucket = Bucket(js, prefix + topology.META)
    while True:
        if entry := await bucket.get("hash-key"):
            return Hasher(entry.value)
        try:
            await bucket.put("hash-key", secrets.token_hex(32).encode(), expect=0)
        except WrongSequenceError:
            continue
