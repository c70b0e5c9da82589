"""Which templates the provider has approved: asked in the background, kept in the bucket `policy` for every router.

What is kept there outlives a restart and a provider that does not answer: the last word counts until there is a newer
one. A template of which nobody ever heard is taken to be approved, because refusing to send would be the greater harm;
the log says so.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence

import structlog

from channels.errors import SendError
from channels.port import TemplateCatalog, TemplateReport
from router import topology
from router.buckets import Bucket, Mirror
from router.jetstream import JetStream
from router.sender_settings import TemplateSettings
from router.tasks import keep_running

log = structlog.get_logger(__name__)

_PREFIX = "template."


class Approvals:
    """Asks again and again."""

    def __init__(
        self,
        catalogs: Sequence[TemplateCatalog],
        templates: Mapping[str, TemplateSettings],
        kept: Mirror[bytes],
        every: float,
    ) -> None:
        self._catalogs = catalogs
        each = ((name, *pair) for name, table in templates.items() for pair in table.languages.items())
        self._named = {sid: f"{name} ({language})" for name, language, sid in each}
        self._kept = kept
        self._every = every  #: seconds; 0: never
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Ask for the first time now, and then every so often; nobody waits for the answer."""
        if self._catalogs and self._named and self._every:
            self._task = keep_running("approvals", self._follow)

    async def stop(self) -> None:
        """Ask no more."""
        if self._task:
            self._task.cancel()

    def missing(self) -> list[str]:
        """Configured templates that are heard of and not approved, each with its state: for people."""
        kept = {key: self._kept.get(key) for key in map(_key, self._named)}
        reports = reports_in({key: value for key, value in kept.items() if value is not None})
        return [f"{self._named[sid]}: {report.state}" for sid, report in reports.items() if not report.approved]

    async def _follow(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(self._every)

    async def look(self) -> None:
        """Ask once, and keep what is new."""
        for catalog in self._catalogs:
            try:
                reports = await catalog.templates(self._named.keys())
            except SendError as exc:
                unheard = [name for sid, name in self._named.items() if self._kept.get(_PREFIX + sid) is None]
                log.warning("templates.not_read", why=exc.message, taken_as_approved=unheard)
                continue
            for report in reports:
                await self._keep(report)

    async def _keep(self, report: TemplateReport) -> None:
        key, value = _PREFIX + report.content_sid, _written(report)
        if self._kept.get(key) == value:
            return
        revision = await self._kept.bucket.put(key, value)
        self._kept.note(key, value, revision)
        tell = log.info if report.approved else log.warning
        tell("templates.changed", template=self._named[report.content_sid], state=report.state)


def _key(sid: str) -> str:
    return _PREFIX + sid


def _written(report: TemplateReport) -> bytes:
    row = {"approved": report.approved, "state": report.state, "variables": sorted(report.variables)}
    return json.dumps(row).encode()


async def kept_reports(js: JetStream, prefix: str) -> dict[str, TemplateReport]:
    """What is kept, read at this moment: for whoever follows no changes."""
    bucket = Bucket(js, prefix + topology.POLICY)
    stored = await js.last_of_each(bucket.stream, bucket.subject(f"{_PREFIX}*"))
    cut = len(bucket.subject(""))
    return reports_in({each.subject[cut:]: each.body for each in stored})


def reports_in(stored: Mapping[str, bytes]) -> dict[str, TemplateReport]:
    """What is kept, by content SID."""
    reports = {}
    for key, value in stored.items():
        if not key.startswith(_PREFIX):
            continue
        try:
            sid, row = key.removeprefix(_PREFIX), json.loads(value)
            reports[sid] = TemplateReport(sid, bool(row["approved"]), str(row["state"]), frozenset(row["variables"]))
        except (ValueError, KeyError, TypeError) as exc:
            log.error("templates.report_unreadable", key=key, why=type(exc).__name__)
    return reports
