"""Reading policies: where the configuration says the document is, compiled for what is configured and installed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from channels.port import TemplateReport
from channels.registry import Installed
from policies import document
from policies.content import placeholders_in
from policies.engine import Policy, compile_policy
from policies.pauses import Pause
from policies.world import TemplateEntry, World
from router.sender_settings import TemplateSettings
from router.settings import Settings


class PolicyFileError(Exception):
    """The configured policy cannot be used; the message names file, line and field."""


def world_of(
    settings: Settings,
    installed: Installed,
    reports: Mapping[str, TemplateReport] = MappingProxyType({}),
) -> World:
    """What decisions can choose from; `reports` are the provider's, by content SID."""
    senders = tuple(each.as_sender() for each in settings.senders)
    return World(
        senders=senders,
        channels=installed.capabilities(senders),
        templates={name: _entry(name, table, reports) for name, table in settings.templates.items()},
    )


def _entry(name: str, table: TemplateSettings, reports: Mapping[str, TemplateReport]) -> TemplateEntry:
    """A template of which nothing was heard yet is taken to be approved."""
    heard = {language: reports[sid] for language, sid in table.languages.items() if sid in reports}
    named = [report.variables for report in heard.values()] + [placeholders_in(text) for text in table.text.values()]
    return TemplateEntry(
        name=name,
        category=table.category,
        languages=table.languages,
        variables=frozenset[str]().union(*named),
        unapproved={language: report.state for language, report in heard.items() if not report.approved},
        text=table.text,
    )


def load_policy(settings: Settings, installed: Installed) -> Policy:
    """The policy of the configured file, or the shipped one."""
    file = settings.policy.file
    if file is None:
        return compile_policy(document.shipped(), world_of(settings, installed))
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise PolicyFileError(f"policy.file: {file} cannot be read: {type(exc).__name__}") from None
    return compiled(text, str(file), world_of(settings, installed))


def compiled(text: str | None, name: str, world: World, switches: Iterable[Pause] = ()) -> Policy:
    """The policy of this text, None for the shipped one; `name` stands before each problem."""
    try:
        chosen = document.shipped() if text is None else document.load(text, name)
    except document.PolicyError as exc:
        raise PolicyFileError(str(exc)) from None
    return compile_policy(chosen, world, switches)
