"""The configuration: one typed object, checked at start, described field by field.

Order of precedence: environment (`POINTSMAN_<SECTION>__<KEY>`), `.env`, the TOML file. Secrets come from the
environment or `.env` alone: no field of the file can hold one.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import AfterValidator, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from channels.keywords import KEYWORDS, bare
from channels.model import Keyword
from router.sections import Section
from router.sender_settings import SenderSettings, TemplateSettings

DEFAULT_FILE = "pointsman.toml"


class ConfigError(Exception):
    """The configuration cannot be used; the message names the field and what to do."""


def _word(value: str) -> str:
    if not (word := bare(value)):
        raise ValueError("must have a letter or a digit: recipients' words are compared by these alone")
    return word


Word = Annotated[str, AfterValidator(_word)]


class TlsSettings(Section):
    """Files of the TLS connection to NATS."""

    ca: Path | None = Field(None, description="certificate authority that signed the server's certificate")
    cert: Path | None = Field(None, description="client certificate, for mutual TLS")
    key: Path | None = Field(None, description="its key")


class NatsSettings(Section):
    """The one dependency."""

    url: str | list[str] = Field("nats://127.0.0.1:4222", description="one server or several")
    creds: Path | None = Field(None, description="credentials file (JWT and NKey)")
    nkey: Path | None = Field(None, description="file with an NKey seed")
    tls: TlsSettings | None = None
    replicas: Annotated[int, Field(ge=1, le=5)] = Field(1, description="copies of every stream and bucket")
    timeout: Annotated[float, Field(gt=0)] = Field(2.0, description="seconds to wait for an answer")
    name: str = Field("pointsman", description="shown in the server's list of connections")
    inbox: Annotated[str, Field(pattern="^[A-Za-z0-9_-]{1,64}$")] = Field(
        "_INBOX", description="where answers come in; one of its own lets permissions keep others out"
    )

    @model_validator(mode="after")
    def _usable(self) -> NatsSettings:
        for url in self.servers:
            try:
                urlsplit(url if "://" in url else f"nats://{url}").port  # noqa: B018 - reading it is the check
            except ValueError:
                raise ValueError("url must be nats://host:port") from None
        return self

    @property
    def servers(self) -> list[str]:
        """As nats-py wants them."""
        return [self.url] if isinstance(self.url, str) else self.url


class StreamSettings(Section):
    """Ages in days, and names of buckets."""

    notifications_max_age: float = Field(30, gt=0, description="days; `send_at` cannot lie farther ahead")
    deliveries_max_age: float = Field(30, gt=0, description="days; also how long an id is remembered")
    inbound_max_age: float = Field(30, gt=0, description="days")
    deadletters_max_age: float = Field(30, gt=0, description="days")
    bucket_prefix: Annotated[str, Field(pattern="^[A-Za-z0-9_-]{0,32}$")] = Field("", description="before bucket names")

    @property
    def kept(self) -> float:
        """Seconds for which a notification and its story are there."""
        return min(self.notifications_max_age, self.deliveries_max_age) * 86_400


class HttpSettings(Section):
    """Where webhooks come in, and where operators look."""

    public_url: str | None = Field(None, description="how the provider reaches the webhooks; signatures cover it")
    listen: str = Field("127.0.0.1:8080", description="webhooks")
    admin_listen: str = Field("127.0.0.1:9090", description="health, metrics, AsyncAPI")
    reuse_port: bool = Field(False, description="several routers on one machine share the webhook port")
    max_body: int = Field(64 * 1024, ge=1024, description="bytes of a webhook request")

    @model_validator(mode="after")
    def _plain_url(self) -> HttpSettings:
        if self.public_url and (not self.public_url.startswith(("https://", "http://")) or "#" in self.public_url):
            raise ValueError("public_url must be http(s)://host[:port][/path]")
        return self


class PolicySettings(Section):
    """Which policy decides."""

    file: Path | None = Field(None, description="read again when it changes; absent: the shipped policy")
    template_refresh: float = Field(
        300, ge=0, description="seconds between looks at which templates are approved; 0: they are taken to be"
    )
    bucket: bool = Field(False, description="the document is the one that `pointsman policy publish` put into NATS")

    @model_validator(mode="after")
    def _one_place(self) -> PolicySettings:
        if self.file is not None and self.bucket:
            raise ValueError("give either file or bucket")
        return self


class DispatchSettings(Section):
    """Durations in seconds."""

    ack_wait: float = Field(30, gt=1, description="without a sign of life for so long, another process may take over")
    timeout: float = Field(10, gt=0, description="for the provider's answer")
    concurrency: int = Field(64, ge=1, description="requests in flight per sender")
    lease: float = Field(6, ge=2, description="a sender whose owner is silent for so long gets another owner")
    bulk_share: float = Field(0.05, ge=0, lt=1, description="of a sender's rate that bulk keeps under load")
    orphaned_after: float = Field(
        60, ge=1, description="nobody has had a waiting message's sender for so long: it is routed anew"
    )
    drain: float = Field(20, ge=0, description="for sends in flight when the router stops")


class RetrySettingsModel(Section):
    """For what is safe to try again; durations in seconds."""

    base: float = Field(2, gt=0, description="first pause; doubled each time, with jitter")
    cap: float = Field(300, gt=0, description="longest pause")
    attempts: int = Field(5, ge=1, description="attempts on one step; those in vain count where another step follows")
    slow_base: float = Field(60, gt=0, description="first pause when the carrier is congested")
    slow_cap: float = Field(3600, gt=0)


class ReconcileSettings(Section):
    """Attempts of unknown outcome; durations in seconds."""

    wait: float = Field(30, ge=0, description="for the attempt's callback, before the provider's list is searched")
    settle: float = Field(120, ge=0, description="still nothing after so long: on_unknown decides")


class TrackingSettings(Section):
    """Lost callbacks; durations in seconds."""

    stuck_after: float = Field(3600, ge=1, description="accepted and no final word for so long: the provider is asked")
    receipt_wait: float = Field(86_400, ge=1, description="still only sent after so long: the carrier has no receipts")


class SessionSettings(Section):
    """WhatsApp's 24-hour window."""

    hours: float = Field(24, gt=0, description="from the recipient's last message")
    margin: float = Field(300, ge=0, description="seconds before its end at which it counts as closed")


class ReachSettings(Section):
    """Channels on which a recipient was found unreachable."""

    ttl: float = Field(3 * 86_400, ge=0, description="seconds until it is forgotten; 0: nothing is learnt")


class StickinessSettings(Section):
    """Which of several equal senders a recipient keeps."""

    ttl: float = Field(30 * 86_400, ge=0, description="seconds until it is forgotten; 0: nothing is kept")


class ConsentSettings(Section):
    """What a STOP reaches."""

    stop_scope: Literal["all", "channel", "sender"] = Field("all", description="what a STOP keyword or 21610 covers")
    stop_words: tuple[Word, ...] = Field((), description="heard as STOP besides the usual ones, such as BAJA")
    start_words: tuple[Word, ...] = Field((), description="heard as START besides the usual ones")
    help_words: tuple[Word, ...] = Field((), description="heard as HELP besides the usual ones")

    @property
    def words(self) -> Mapping[str, Keyword]:
        """All of them, bare."""
        lists = {Keyword.STOP: self.stop_words, Keyword.START: self.start_words, Keyword.HELP: self.help_words}
        return {word: keyword for keyword, words in lists.items() for word in words}

    @model_validator(mode="after")
    def _words_mean_one_thing(self) -> ConsentSettings:
        words = [*self.stop_words, *self.start_words, *self.help_words]
        if twice := sorted({word for word in words if words.count(word) > 1}):
            raise ValueError(f"the word {twice[0]!r} is given twice")
        if other := sorted(word for word, keyword in self.words.items() if KEYWORDS.get(word, keyword) is not keyword):
            raise ValueError(f"the word {other[0]!r} means {KEYWORDS[other[0]].upper()} everywhere")
        return self


class InboundSettings(Section):
    """Answers to recipients; empty means no answer."""

    reply: str = Field("", description="to every message that is no keyword")
    stop_reply: str = Field("You will get no more messages from us. Reply START to change your mind.")
    start_reply: str = Field("You will get our messages again. Reply STOP to end them.")
    help_reply: str = Field("Reply STOP to get no more messages, START to get them again.")


class TelemetrySettings(Section):
    """Figures for those who watch."""

    metrics: bool = Field(True, description="count, and answer GET /metrics")
    traces: bool = Field(False, description="make spans of what publishers sampled; needs pointsman[otel]")
    endpoint: str | None = Field(None, description="a collector, OTLP over HTTP; absent: OpenTelemetry's variables")
    share: Annotated[float, Field(ge=0, le=1)] = Field(0.0, description="of what came with no trace that begins one")


class ConsoleSettings(Section):
    """The page for operators."""

    enabled: bool = Field(False, description="serve it at / of the admin listener; needs pointsman[console]")
    allow_actions: bool = Field(False, description="replay and resolve dead letters there")
    login: Literal["token", "proxy"] = Field("token", description="proxy: a reverse proxy says who it is")
    user_header: str = Field("X-Forwarded-User", description="where the proxy says it")
    trusted_proxies: list[str] = Field(["127.0.0.1", "::1"], description="addresses whose word is taken")
    origin: str | None = Field(None, description="where people reach it, when a proxy changes the host")
    events: Annotated[int, Field(ge=100, le=1_000_000)] = Field(10_000, description="of the log, kept in memory")


class LogSettings(Section):
    """structlog."""

    format: Literal["auto", "json", "console"] = Field("auto", description="auto: readable on a terminal, else JSON")
    level: Literal["debug", "info", "warning", "error"] = "info"


class Settings(BaseSettings):
    """Everything that can be configured."""

    model_config = SettingsConfigDict(
        env_prefix="POINTSMAN_",
        env_nested_delimiter="__",
        extra="forbid",
        dotenv_filtering="only_existing",  # `.env` holds the provider's variables too
        frozen=True,
        nested_model_default_partial_update=True,
    )

    nats: NatsSettings = NatsSettings()
    streams: StreamSettings = StreamSettings()
    http: HttpSettings = HttpSettings()
    senders: list[SenderSettings] = Field(default_factory=list)
    templates: dict[str, TemplateSettings] = Field(default_factory=dict)
    providers: dict[str, dict[str, Any]] = Field(default_factory=dict)
    policy: PolicySettings = PolicySettings()
    dispatch: DispatchSettings = DispatchSettings()
    retry: RetrySettingsModel = RetrySettingsModel()
    reconcile: ReconcileSettings = ReconcileSettings()
    tracking: TrackingSettings = TrackingSettings()
    sessions: SessionSettings = SessionSettings()
    consent: ConsentSettings = ConsentSettings()
    reach: ReachSettings = ReachSettings()
    stickiness: StickinessSettings = StickinessSettings()
    inbound: InboundSettings = InboundSettings()
    logs: LogSettings = LogSettings()
    console: ConsoleSettings = ConsoleSettings()
    telemetry: TelemetrySettings = TelemetrySettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - pydantic-settings calls it with all five
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - as above
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over what the file says, which arrives as init arguments."""
        return env_settings, dotenv_settings, init_settings

    @model_validator(mode="after")
    def _unique_senders(self) -> Settings:
        names = [sender.name for sender in self.senders]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"senders: the name {sorted(twice)[0]!r} is given twice")
        return self


def load(path: Path | None = None, environ: Mapping[str, str] | None = None) -> tuple[Settings, Mapping[str, str]]:
    """The settings, and the environment (with `.env` under it) that providers take their secrets from.

    Raises `ConfigError` that names the file, the field and what to do.
    """
    own = dict(os.environ if environ is None else environ)
    merged = {name: value for name, value in dotenv_values(".env").items() if value is not None} | own
    path = path or (Path(merged["POINTSMAN_CONFIG"]) if merged.get("POINTSMAN_CONFIG") else None)
    given = _read(path)
    if "senders" not in given and (default := default_senders(merged)):
        given["senders"] = default
    dotenv = Path(".env") if Path(".env").exists() else None
    try:
        return Settings(_env_file=dotenv, **given), merged
    except ValidationError as exc:
        raise ConfigError(_describe(exc, path)) from None
    except SettingsError as exc:
        # A list or a table in one variable, which is then read as JSON.
        named = re.search(r'field "(\w+)"', str(exc))
        variable = f"POINTSMAN_{named[1].upper()}" if named else "a variable POINTSMAN_..."
        raise ConfigError(f"{variable}: must be JSON, for example a list of tables") from None


def _read(path: Path | None) -> dict[str, Any]:
    if path is None:
        path = Path(DEFAULT_FILE)
        if not path.exists():
            return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path}: cannot be read: {exc.__class__.__name__}") from None
    except tomllib.TOMLDecodeError as exc:
        raise ConfigError(f"{path}: {exc}") from None


def _describe(exc: ValidationError, path: Path | None) -> str:
    rows = []
    for error in exc.errors(include_url=False, include_input=False, include_context=False):
        where = ".".join(str(part) for part in error["loc"]) or "configuration"
        what = "unknown key" if error["type"] == "extra_forbidden" else error["msg"].removeprefix("Value error, ")
        rows.append(f"{where}: {what}")
    return f"{path or DEFAULT_FILE}: " + "; ".join(rows)


def default_senders(environ: Mapping[str, str]) -> list[dict[str, Any]]:
    """Senders made from Twilio's usual environment variables, when the file names none."""
    senders: list[dict[str, Any]] = []
    if number := environ.get("TWILIO_FROM_NUMBER"):
        senders.append({"name": "default", "kind": "long-code", "channels": ["sms", "mms"], "from": number})
    if service := environ.get("TWILIO_MESSAGING_SERVICE_SID"):
        row = {"name": "service", "kind": "messaging-service", "channels": ["sms", "mms"]}
        senders.append({**row, "messaging_service_sid": service})
    if number := environ.get("TWILIO_WHATSAPP_FROM"):
        row = {"name": "whatsapp", "kind": "whatsapp", "channels": ["whatsapp"]}
        senders.append({**row, "from": number.removeprefix("whatsapp:")})
    return senders
