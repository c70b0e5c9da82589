"""Small pieces that every page is made of: text in the right element, live tables, plots with words beside them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog
from nicegui import ui
from nicegui.element import Element
from nicegui.elements.mixins.text_element import TextElement

from router.console.access import Person
from router.console.office import NotAllowedError, Office
from router.jetstream import StoreError
from router.services.asking import BadRequestError

log = structlog.get_logger(__name__)

_GRID = "rgba(128, 144, 158, 0.3)"  # fits both themes
LIVE = 2.0  #: seconds between looks for something new; only what differs goes to the browser
_STYLE = Path(__file__).with_name("style.css")

#: Cells are text, or {text, href, tone}; Vue escapes whatever they hold.
_BODY = """
<q-tr :props="props">
  <q-td v-for="col in props.cols" :key="col.name" :props="props" :data-label="col.label"
        :class="[col.classes, col.value === '' ? 'is-empty' : '']">
    <a v-if="col.value && col.value.href" :href="col.value.href">{{ col.value.text }}</a>
    <span v-else-if="col.value && col.value.tone" :class="'tone-' + col.value.tone">{{ col.value.text }}</span>
    <template v-else>{{ col.value }}</template>
  </q-td>
</q-tr>
"""
Cell = str | int | float | Mapping[str, str]


def style() -> None:
    """Once for each page."""
    ui.add_css(_STYLE.read_text(encoding="utf-8"))


class Text(TextElement):
    """Escaped text in an element of this name."""

    def __init__(self, tag: str, content: str, classes: str = "") -> None:
        super().__init__(tag=tag, text=content)
        self.classes(classes)


@contextmanager
def inside(tag: str, classes: str = "") -> Iterator[Element]:
    """An element with what is drawn in it."""
    with ui.element(tag).classes(classes) as element:
        yield element


@contextmanager
def card(title: str) -> Iterator[Element]:
    """A section with a heading that names it."""
    with inside("section", "card") as element:
        heading = Text("h2", title)
        element.props(f'aria-labelledby="c{heading.id}"')
        yield element


def link(text: str, href: str) -> Element:
    """Within the console."""
    return ui.link(text, href)


def to(text: str, href: str) -> Mapping[str, str]:
    """A cell that leads somewhere."""
    return {"text": text, "href": href}


def toned(text: str, tone: str) -> Mapping[str, str]:
    """A cell whose colour says what its words say too."""
    return {"text": text, "tone": tone}


@dataclass(frozen=True, slots=True)
class Column:
    """Of a table."""

    name: str
    label: str
    number: bool = False


class Table:
    """Rows that change in place; on a phone each row is a card."""

    def __init__(self, columns: Sequence[Column], empty: str) -> None:
        described = [
            {
                "name": each.name,
                "label": each.label,
                "field": each.name,
                "align": "right" if each.number else "left",
                "classes": "number" if each.number else "",
            }
            for each in columns
        ]
        self._table = ui.table(columns=described, rows=[], row_key="key").classes("w-full")
        self._table.props('flat hide-pagination :rows-per-page-options="[0]"')
        self._table.add_slot("body", _BODY)
        self._empty = Text("p", empty, "empty")
        self._table.set_visibility(False)

    def show(self, rows: Sequence[Mapping[str, Cell]]) -> None:
        """These rows, each with a `key`."""
        if self._table.rows != rows:
            self._table.rows = list(rows)  # type: ignore[arg-type] # any mapping does
        self._table.set_visibility(bool(rows))
        self._empty.set_visibility(not rows)


class Tiles:
    """Figures with their names."""

    def __init__(self) -> None:
        self._list = ui.element("dl").classes("tiles")
        self._values: dict[str, tuple[TextElement, str]] = {}

    def show(self, name: str, value: str, tone: str = "plain") -> None:
        """This figure now."""
        if name not in self._values:
            with self._list, inside("div", "tile"):
                Text("dt", name)
                self._values[name] = (Text("dd", ""), "")
        element, before = self._values[name]
        element.set_text(value)
        if before != tone:
            element.classes(remove=f"tone-{before}", add=f"tone-{tone}")
            self._values[name] = (element, tone)


class Plot:
    """A chart, and the same in words for those who do not see it."""

    def __init__(self, options: dict[str, Any]) -> None:
        base = {
            "animation": False,
            "textStyle": {"fontFamily": "system-ui, sans-serif"},
            "color": ["#2f7fd1", "#e08a1e", "#3aa76d", "#9a6bd0", "#d2586c", "#6b8796", "#b59b2c", "#4fb3bf"],
            "grid": {"left": 44, "right": 12, "top": 36, "bottom": 28},
            "legend": {"top": 0, "left": 0, "itemHeight": 10, "itemWidth": 14},
            "yAxis": {"type": "value", "minInterval": 1, "splitLine": {"lineStyle": {"color": _GRID}}},
            "tooltip": {"trigger": "axis", "confine": True},
        }
        self._chart = ui.echart({**base, **options}, renderer="svg").classes("chart")
        self._chart.props("role=img")
        with inside("details"):
            Text("summary", "In words")
            self._words = Text("p", "", "note")
        self._chart.props(f'aria-describedby="c{self._words.id}" aria-label="Plot"')

    def show(self, words: str, **options: Any) -> None:
        """These series, and these words."""
        self._words.set_text(words)
        if any(self._chart.options.get(name) != value for name, value in options.items()):
            self._chart.options.update(options)
            self._chart.update()


def facts(rows: Sequence[tuple[str, str]]) -> None:
    """Names and values."""
    with inside("dl", "facts"):
        for name, value in rows:
            Text("dt", name)
            Text("dd", value)


def every(office: Office, seconds: float, draw: Callable[[], Awaitable[None]]) -> None:
    """Now and again while the session lasts; what fails is said once in the log and tried again."""

    async def again() -> None:
        try:
            office.check(person())
            await draw()
        except NotAllowedError:
            timer.cancel()
        except (BadRequestError, StoreError) as exc:
            log.debug("console.not_drawn", why=str(exc))

    timer = ui.timer(seconds, again)


async def tried(office: Office, what: Callable[[], Awaitable[None]]) -> None:
    """Something that a person asked for, while their session lasts: what is wrong with it is said to them."""
    try:
        office.check(person())
        await what()
    except BadRequestError as exc:
        say(f"{exc.field}: {exc.message}" if exc.field else exc.message, bad=True)
    except (NotAllowedError, StoreError) as exc:
        say(str(exc), bad=True)


def say(text: str, *, bad: bool = False) -> None:
    """A word at the edge of the screen, read aloud by screen readers."""
    ui.notify(text, type="negative" if bad else "positive", multi_line=True, close_button="Close")


def person() -> Person:
    """Who looks at this page."""
    request = ui.context.client.request
    found = request.scope["state"]["person"]
    assert isinstance(found, Person)
    return found


def local(moment: datetime | float) -> str:
    """Date and time in UTC, to the second: routers and people are in many places."""
    at = datetime.fromtimestamp(moment, UTC) if isinstance(moment, int | float) else moment.astimezone(UTC)
    return f"{at:%Y-%m-%d %H:%M:%S}"


def ago(at: float, now: float) -> str:
    """How long it has been."""
    seconds = max(0, int(now - at))
    if seconds < 120:
        return f"{seconds} s ago"
    return f"{seconds // 60} min ago" if seconds < 7200 else local(at)
