"""The console's site: pages on a NiceGUI app behind a door. Imported only where the console is switched on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import cast

from router.console.access import TOKEN_VARIABLE, AccessError, Sessions, read_tokens
from router.console.door import Door
from router.console.office import Office
from router.http import ASGIApp
from router.logs import register_secrets
from router.settings import ConsoleSettings

try:
    from fastapi import FastAPI, HTTPException
    from nicegui import core, ui
except ImportError:
    raise AccessError("console.enabled needs what is not installed: pip install 'pointsman[console]'") from None

from router import subjects
from router.console.pages import deadletters, explain, notification, overview, problems, queues, recipients, search
from router.console.pages.frame import frame

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


async def open_site(
    office: Office, settings: ConsoleSettings, environ: Mapping[str, str], stack: AsyncExitStack
) -> ASGIApp:
    """The ASGI app; what it holds is let go of with the stack. Raises `AccessError` where nobody could come in."""
    if core.app.config.has_run_config:
        raise AccessError("this process has a console already: NiceGUI has room for one")
    sessions = None
    if settings.login == "token":
        tokens = read_tokens(environ.get(TOKEN_VARIABLE))
        register_secrets(tokens.values())
        sessions = Sessions(tokens)
    _register(office, logout=sessions is not None)
    app = FastAPI(openapi_url=None)
    ui.run_with(
        app,
        title="Pointsman",
        favicon="🚉",
        language="en-US",
        tailwind=False,
        show_welcome_message=False,
        binding_refresh_interval=None,
        reconnect_timeout=10.0,
    )
    await stack.enter_async_context(app.router.lifespan_context(app))
    return Door(cast(ASGIApp, app), settings, sessions)


def _register(office: Office, *, logout: bool) -> None:
    """Each page under its address."""

    @ui.page("/")
    def _overview() -> None:
        with frame(office, "Overview", "/", logout=logout):
            overview.draw(office)

    @ui.page("/queues")
    def _queues() -> None:
        with frame(office, "Queues", "/queues", logout=logout):
            queues.draw(office)

    @ui.page("/problems")
    def _problems() -> None:
        with frame(office, "Problems", "/problems", logout=logout):
            problems.draw(office)

    @ui.page("/search")
    def _search() -> None:
        with frame(office, "Search", "/search", logout=logout):
            search.SearchPage(office)

    @ui.page("/notification/{source}/{identity}")
    def _notification(source: str, identity: str) -> None:
        if not subjects.SOURCE.fullmatch(source) or not subjects.NOTIFICATION_ID.fullmatch(identity):
            raise HTTPException(404)
        with frame(office, f"{source}/{identity}", "", logout=logout):
            notification.NotificationPage(office, source, identity)

    @ui.page("/deadletters")
    def _dead_letters() -> None:
        with frame(office, "Dead letters", "/deadletters", logout=logout):
            deadletters.draw_list(office)

    @ui.page("/deadletters/{identity}")
    def _dead_letter(identity: str) -> None:
        if not _UUID.fullmatch(identity):
            raise HTTPException(404)
        with frame(office, f"Dead letter {identity[:8]}", "/deadletters", logout=logout):
            deadletters.draw_one(office, identity)

    @ui.page("/recipients")
    def _recipients() -> None:
        with frame(office, "Recipients", "/recipients", logout=logout):
            recipients.RecipientsPage(office)

    @ui.page("/explain")
    def _explain() -> None:
        with frame(office, "Explain", "/explain", logout=logout):
            explain.ExplainPage(office)
