"""Keys and tokens: the same for as long as buckets and callback addresses are."""

from __future__ import annotations

import hmac

import pytest

from channels.address import parse_recipient
from router.hashing import Hasher


@pytest.mark.parametrize("key", [b"", b"a key", b"k" * 64, b"k" * 65, bytes(range(256))])
def test_keys_of_recipients_and_tokens_of_attempts_are_hmacs(key: bytes) -> None:
    hasher = Hasher(key)
    for address in ("+12025550143", "whatsapp:GB.13491208655302741918", "mail:josé@example.com"):
        recipient = parse_recipient(address)
        whole = hmac.digest(key, recipient.address.encode(), "sha256").hex()
        assert hasher.recipient(recipient) == whole[:32]
    assert hasher.token("shop", "order-1", 2) == hmac.digest(key, b"attempt:shop.order-1.2", "sha256").hex()[:24]
