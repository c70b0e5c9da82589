"""The providers: each is asked by its own channels, which know what there is to ask."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field

from channels.errors import SendError
from channels.model import ChannelName, Sender
from channels.port import ChannelPlugin, Finding, Level, ProviderContext, TemplateCatalog
from channels.registry import PluginError, discover
from router.providers import context_of
from router.settings import Settings


async def findings(settings: Settings, environ: Mapping[str, str]) -> AsyncGenerator[Finding, None]:
    """Account, senders, webhooks, templates of every provider that a sender needs."""
    try:
        needed = _needed(settings)
    except PluginError:
        return  # said of the senders already
    for provider, of_it in needed.items():
        context = context_of(settings, environ, provider)
        try:
            async for finding in _inspected(provider, of_it, context):
                yield finding
            async for finding in _templates(of_it, context, settings):
                yield finding
        finally:
            await context.aclose()


@dataclass(slots=True)
class Needed:
    """What is used of one provider."""

    plugins: dict[ChannelName, ChannelPlugin] = field(default_factory=dict)
    senders: dict[str, Sender] = field(default_factory=dict)


def _needed(settings: Settings) -> dict[str, Needed]:
    """By provider."""
    installed = discover()
    needed: dict[str, Needed] = {}
    for sender in (each.as_sender() for each in settings.senders):
        for plugin in installed.of(sender).values():
            of_it = needed.setdefault(plugin.provider, Needed())
            of_it.plugins[plugin.name] = plugin
            of_it.senders[sender.name] = sender
    return needed


async def _inspected(provider: str, needed: Needed, context: ProviderContext) -> AsyncGenerator[Finding, None]:
    inspect = next((plugin.inspect for plugin in needed.plugins.values() if plugin.inspect), None)
    if inspect is None:
        yield Finding(provider, Level.OK, "this provider offers nothing that could be asked")
        return
    async for finding in inspect(context, list(needed.senders.values())):
        yield Finding(f"{provider}: {finding.what}", finding.level, finding.says, finding.todo)


async def _templates(needed: Needed, context: ProviderContext, settings: Settings) -> AsyncGenerator[Finding, None]:
    named = {
        sid: f"{name} ({lang})" for name, each in settings.templates.items() for lang, sid in each.languages.items()
    }
    approving = next((plugin for plugin in needed.plugins.values() if plugin.capabilities.approves_templates), None)
    if not named or approving is None:
        return
    try:
        channel: object = approving.open(context)
        reports = await channel.templates(named.keys()) if isinstance(channel, TemplateCatalog) else []
    except SendError as exc:
        yield Finding("templates", Level.WARNING, f"they could not be asked for: {exc.message}", "see the lines above")
        return
    for report in reports:
        what = f"template {named[report.content_sid]}"
        if report.approved:
            yield Finding(what, Level.OK, "approved")
        else:
            todo = "have it approved in the provider's console; until then it counts as absent"
            yield Finding(what, Level.WARNING, f"its state is '{report.state}'", todo)
