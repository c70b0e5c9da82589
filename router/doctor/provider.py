"""The providers: each is asked by its own channels, which know what there is to ask."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping

from channels.errors import SendError
from channels.model import ChannelName
from channels.port import ChannelPlugin, Finding, Level, ProviderContext, TemplateCatalog
from channels.registry import PluginError, discover
from router.providers import context_of
from router.settings import Settings


async def findings(settings: Settings, environ: Mapping[str, str]) -> AsyncGenerator[Finding, None]:
    """Account, senders, webhooks, templates of every provider that a sender needs."""
    try:
        plugins = _needed(settings)
    except PluginError:
        return  # said of the senders already
    for provider, of_it in plugins.items():
        context = context_of(settings, environ, provider)
        try:
            async for finding in _inspected(provider, of_it, context, settings):
                yield finding
            async for finding in _templates(of_it, context, settings):
                yield finding
        finally:
            await context.aclose()


def _needed(settings: Settings) -> dict[str, list[ChannelPlugin]]:
    """Provider -> those of its channels that a sender carries."""
    installed = discover()
    carried = sorted({name for sender in settings.senders for name in sender.channels})
    needed: dict[str, list[ChannelPlugin]] = {}
    for plugin in (installed[ChannelName(name)] for name in carried if name in installed):
        needed.setdefault(plugin.provider, []).append(plugin)
    return needed


async def _inspected(
    provider: str, plugins: list[ChannelPlugin], context: ProviderContext, settings: Settings
) -> AsyncGenerator[Finding, None]:
    ours = {plugin.name for plugin in plugins}
    senders = [sender for each in settings.senders if (sender := each.as_sender()).channels & ours]
    inspect = next((plugin.inspect for plugin in plugins if plugin.inspect), None)
    if inspect is None:
        yield Finding(provider, Level.OK, "this provider offers nothing that could be asked")
        return
    async for finding in inspect(context, senders):
        yield Finding(f"{provider}: {finding.what}", finding.level, finding.says, finding.todo)


async def _templates(
    plugins: list[ChannelPlugin], context: ProviderContext, settings: Settings
) -> AsyncGenerator[Finding, None]:
    named = {
        sid: f"{name} ({lang})" for name, each in settings.templates.items() for lang, sid in each.languages.items()
    }
    approving = next((plugin for plugin in plugins if plugin.capabilities.approves_templates), None)
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
