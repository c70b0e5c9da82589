"""What stands around every page: the way to the others, who is logged in, the theme."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from nicegui import ui

from router.console.office import Office
from router.console.pages.draw import LIVE, Text, every, inside, person, style

PLACES = (
    ("/", "Overview"),
    ("/queues", "Queues"),
    ("/problems", "Problems"),
    ("/search", "Search"),
    ("/deadletters", "Dead letters"),
    ("/recipients", "Recipients"),
    ("/explain", "Explain"),
)
_LOGOUT = '<form method="post" action="/logout"><button type="submit">Log out</button></form>'
_THEME = "pointsman_theme"
#: None follows the system.
_THEMES = {"auto": None, "light": False, "dark": True}


@contextmanager
def frame(office: Office, title: str, here: str, *, logout: bool) -> Iterator[None]:
    """A page with this heading."""
    style()
    ui.page_title(f"{title} · Pointsman")
    ui.colors(primary="#0b5cad", negative="#a8201a", positive="#14632c")
    theme = ui.context.client.request.cookies.get(_THEME, "auto")
    dark = ui.dark_mode(_THEMES.get(theme))
    with ui.header(fixed=False).classes("top"):
        ui.html('<a class="skip" href="#main">Skip to the content</a>', sanitize=False)
        ui.link("Pointsman", "/").classes("brand")
        _navigation(office, here)
        with inside("div", "who"):
            Text("span", person().name)
            _theme_button(dark, theme)
            if logout:
                ui.html(_LOGOUT, sanitize=False)
    Text("h1", title).props('id=main tabindex="-1"')
    _end_with_session(office, here)
    yield


def _end_with_session(office: Office, here: str) -> None:
    """Nothing on the page is live any more then (`every`), and nothing is shown on request (`tried`)."""
    with inside("p", "card") as words:
        words.props("role=alert")
        Text("span", "Your session is over: this page shows nothing new. ")
        ui.link("Log in again", here or "/")
    words.set_visibility(False)

    def look() -> None:
        if person().until <= office.clock():
            words.set_visibility(True)
            timer.cancel()

    timer = ui.timer(LIVE, look)


def _navigation(office: Office, here: str) -> None:
    with ui.element("nav").props('aria-label="Pages"'):
        for href, name in PLACES:
            link = ui.link(name, href)
            if href == here:
                link.props("aria-current=page")
            if href == "/problems":
                _count_problems(office, link)


def _count_problems(office: Office, link: ui.link) -> None:
    async def count() -> None:
        found = len(await office.problems())
        link.set_text(f"Problems ({found})" if found else "Problems")

    every(office, 2 * LIVE, count)


def _theme_button(dark: ui.dark_mode, theme: str) -> None:
    names = list(_THEMES)
    current = theme if theme in names else "auto"

    def change() -> None:
        nonlocal current
        current = names[(names.index(current) + 1) % len(names)]
        dark.value = _THEMES[current]
        button.props(f'aria-label="Theme: {current}"')
        label.set_text(f"Theme: {current}")
        ui.run_javascript(f"document.cookie = '{_THEME}={current}; path=/; max-age=31536000; samesite=strict'")

    with ui.element("button").classes("plain").props(f'type=button aria-label="Theme: {current}"') as button:
        label = Text("span", f"Theme: {current}")
    button.on("click", change)
