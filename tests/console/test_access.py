"""Who may look, and what another site can make a browser do: nothing."""

from __future__ import annotations

import pytest

from router.console.access import (
    HOURS,
    AccessError,
    Failures,
    Person,
    Sessions,
    from_elsewhere,
    proxied,
    read_tokens,
)

NOW = 1_000_000_000.0
TOKENS = {"ada": "a" * 20, "ben@example.com": "b" * 20}
SESSIONS = Sessions(TOKENS)


def test_tokens_are_read_with_their_owners() -> None:
    assert read_tokens(f"ada={'a' * 20}, ben@example.com={'b' * 20},") == TOKENS


@pytest.mark.parametrize("text", [None, "", " , ", "ada=short", "a" * 20, "=" + "a" * 20, f"a b={'a' * 20}"])
def test_what_is_no_token_is_refused_without_repeating_it(text: str | None) -> None:
    with pytest.raises(AccessError, match="POINTSMAN_CONSOLE_TOKEN") as caught:
        read_tokens(text)
    assert "short" not in str(caught.value)
    assert "a" * 20 not in str(caught.value)


def test_a_token_says_whose_it_is() -> None:
    assert SESSIONS.holder("b" * 20) == "ben@example.com"
    assert SESSIONS.holder("c" * 20) is None
    assert SESSIONS.holder("") is None


def test_a_session_lasts_its_hours_and_no_longer() -> None:
    cookie = SESSIONS.begin("ada", NOW)
    assert SESSIONS.person(cookie, NOW + HOURS * 3600 - 1) == Person("ada", NOW + HOURS * 3600)
    assert SESSIONS.person(cookie, NOW + HOURS * 3600) is None


def test_another_router_with_the_same_tokens_honours_it_and_one_with_others_does_not() -> None:
    cookie = SESSIONS.begin("ada", NOW)
    assert Sessions(dict(reversed(TOKENS.items()))).person(cookie, NOW) is not None
    assert Sessions({**TOKENS, "ada": "x" * 20}).person(cookie, NOW) is None
    assert Sessions({"ben@example.com": "b" * 20}).person(cookie, NOW) is None


def test_a_forged_cookie_is_nobodys() -> None:
    said, _, signature = SESSIONS.begin("ada", NOW).partition(".")
    other = SESSIONS.begin("ben@example.com", NOW).partition(".")[0]
    for forged in (f"{other}.{signature}", f"{said}.", said, f".{signature}", "", None, f"{said}.{signature[:-1]}é"):
        assert SESSIONS.person(forged, NOW) is None


def test_wrong_tokens_close_the_door_for_a_minute() -> None:
    failures = Failures(most=3)
    for second in range(3):
        assert not failures.too_many(NOW + second)
        failures.add(NOW + second)
    assert failures.too_many(NOW + 3)
    assert not failures.too_many(NOW + 62)


@pytest.mark.parametrize(
    ("peer", "header", "expected"),
    [
        ("127.0.0.1", "ada", "ada"),
        ("10.0.0.1", "ada", None),
        (None, "ada", None),
        ("127.0.0.1", "", None),
        ("127.0.0.1", "ada\r\nevil: 1", None),
    ],
)
def test_only_a_trusted_proxy_says_who_it_is(peer: str | None, header: str, expected: str | None) -> None:
    assert proxied({"x-forwarded-user": header}, peer, "X-Forwarded-User", ["127.0.0.1"]) == expected


HOST = {"host": "ops.example.com"}
#: Method, headers besides Host, and whether another site asks.
REQUESTS = [
    ("GET", {}, False),  # no browser, or an old one; the cookie is SameSite=Strict
    ("GET", {"sec-fetch-site": "none"}, False),
    ("GET", {"sec-fetch-site": "same-origin"}, False),
    ("GET", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, False),  # a link in a mail
    ("GET", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, True),
    ("GET", {"origin": "https://evil.example"}, True),
    ("POST", {"origin": "https://ops.example.com"}, False),
    ("POST", {"origin": "https://evil.example"}, True),
    ("POST", {"origin": "null"}, True),
    ("POST", {"sec-fetch-site": "same-origin"}, False),
    ("POST", {"sec-fetch-site": "same-site"}, True),
    ("POST", {}, True),
    ("WEBSOCKET", {"origin": "https://ops.example.com"}, False),
    ("WEBSOCKET", {"origin": "https://ops.example.com.evil.example"}, True),
    ("WEBSOCKET", {}, True),
]


@pytest.mark.parametrize(("method", "headers", "elsewhere"), REQUESTS)
def test_another_site_is_told_apart(method: str, headers: dict[str, str], elsewhere: bool) -> None:
    assert from_elsewhere(method, {**HOST, **headers}, None) is elsewhere


def test_behind_a_proxy_that_changes_the_host_the_configured_origin_is_ours() -> None:
    headers = {"host": "127.0.0.1:9090", "origin": "https://ops.example.com"}
    assert from_elsewhere("POST", headers, None)
    assert not from_elsewhere("POST", headers, "https://ops.example.com")
