"""Keyed hashes, so that nobody who lists a bucket reads phone numbers.

The key is `POINTSMAN_HASH_KEY` where set, else made at the first start and kept in NATS for all routers.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from functools import lru_cache

from channels.model import Recipient
from router import topology
from router.buckets import Bucket
from router.jetstream import JetStream, WrongSequenceError


class Hasher:
    """Keyed hashes of addresses, and unguessable tokens of attempts."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def recipient(self, recipient: Recipient) -> str:
        """The key under which a recipient is stored."""
        return _address_key(self._key, recipient.address)

    def token(self, source: str, notification_id: str, attempt: int) -> str:
        """For the status-callback URL: nobody who does not know the key can name an attempt."""
        text = f"attempt:{source}.{notification_id}.{attempt}"
        return hmac.digest(self._key, text.encode(), "sha256").hex()[:24]


@lru_cache(maxsize=256)  # what is known of one recipient stands in several buckets
def _address_key(key: bytes, address: str) -> str:
    return hmac.digest(key, address.encode(), "sha256").hex()[:32]


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
