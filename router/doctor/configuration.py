"""The configuration and the policy, as far as they speak for themselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from channels.port import Finding, Level
from channels.registry import PluginError, discover
from policies import document
from policies.check import check
from policies.document import PolicyError
from router.policy import world_of
from router.settings import Settings


def findings(settings: Settings) -> Iterator[Finding]:
    """That it could be read is known already."""
    yield Finding("configuration", Level.OK, "it can be read, and every key is known")
    yield _senders(settings)
    yield _public_url(settings)
    yield from _policy(settings)


def _senders(settings: Settings) -> Finding:
    if not settings.senders:
        todo = "name [[senders]], or set TWILIO_FROM_NUMBER"
        return Finding("senders", Level.FAILURE, "none is configured, so nothing can be sent", todo)
    try:
        installed = discover()
        for each in settings.senders:
            installed.of(each.as_sender())
    except PluginError as exc:
        return Finding("senders", Level.FAILURE, str(exc), "install or remove a distribution, or correct the sender")
    names = ", ".join(each.name for each in settings.senders)
    return Finding("senders", Level.OK, f"{len(settings.senders)} configured: {names}")


def _public_url(settings: Settings) -> Finding:
    what, url = "http.public_url", settings.http.public_url
    if url is None:
        says = "it is not set: no status and no inbound message comes back"
        return Finding(what, Level.WARNING, says, "set it to the address under which the provider reaches the webhooks")
    if urlsplit(url).scheme != "https" and urlsplit(url).hostname not in {"127.0.0.1", "localhost", "::1"}:
        says = "it is not https: whoever stands between can read and change what comes in"
        return Finding(what, Level.WARNING, says, "put TLS before the webhooks, and write https://")
    return Finding(what, Level.OK, url)


def _policy(settings: Settings) -> Iterator[Finding]:
    if settings.policy.bucket:
        return  # it is read from there, once NATS is reached
    file = settings.policy.file
    try:
        name, text = _read(file)
    except (OSError, UnicodeDecodeError) as exc:
        yield Finding("policy", Level.FAILURE, f"{file} cannot be read: {type(exc).__name__}", "correct policy.file")
        return
    yield policy(text, name, settings, "pointsman policy check")


def policy(text: str, name: str, settings: Settings, todo: str) -> Finding:
    """Whether it is one, and whether all of it can work with what is configured; `name` stands before problems."""
    try:
        parsed = document.load(text, name)
    except PolicyError as exc:
        first = exc.problems[0]
        return Finding("policy", Level.FAILURE, f"{name}:{first.line}: {first.message}", todo)
    found = check(parsed, world_of(settings, discover()), text)
    if found:
        says = f"{name}:{found[0].line}: {found[0].message}" + (f", and {len(found) - 1} more" if found[1:] else "")
        return Finding("policy", Level.WARNING, says, todo)
    return Finding("policy", Level.OK, f"{parsed.version}: every situation has a route, and every route can work")


def _read(file: Path | None) -> tuple[str, str]:
    if file is None:
        from importlib.resources import files  # noqa: PLC0415 - only where the shipped one is read

        return "the shipped policy", files("policies").joinpath("default.toml").read_text("utf-8")
    return str(file), file.read_text(encoding="utf-8")
