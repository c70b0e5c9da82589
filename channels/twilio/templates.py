"""What Twilio's Content API says of templates: their variables, and whether WhatsApp has approved them.

https://www.twilio.com/docs/content/content-api-resources#fetch-content-and-approval-status
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from http import HTTPStatus
from typing import Any

from twilio.base.exceptions import TwilioRestException
from twilio.rest import Client

from channels.port import TemplateReport

#: Contents in one page of the list.
PAGE_SIZE = 200
#: A content that is not in this account, or was deleted.
MISSING = "missing"
_APPROVED = "approved"
_PLACEHOLDER = re.compile(r"\{\{\s*([A-Za-z0-9_]{1,16})\s*\}\}")


async def read_templates(client: Client, sids: Collection[str]) -> list[TemplateReport]:
    """A report for each of these contents: the list is read until all were found, which is seldom more than a page.

    What the list does not have is asked for by itself: a content that was made a moment ago may not be there yet.
    """
    wanted = frozenset(sids)
    found: dict[str, TemplateReport] = {}
    async for record in await client.content.v1.content_and_approvals.stream_async(page_size=PAGE_SIZE):
        if record.sid in wanted:
            found[record.sid] = _report(record, record.approval_requests)
        if len(found) == len(wanted):
            break
    return [found.get(sid) or await _read_one(client, sid) for sid in sorted(wanted)]


async def _read_one(client: Client, sid: str) -> TemplateReport:
    try:
        content = await client.content.v1.contents(sid).fetch_async()
        approval = await client.content.v1.contents(sid).approval_fetch().fetch_async()
    except TwilioRestException as exc:
        if exc.status != HTTPStatus.NOT_FOUND:
            raise
        return TemplateReport(sid, approved=False, state=MISSING)
    return _report(content, approval.whatsapp)


def _report(content: Any, approval: Mapping[str, object] | None) -> TemplateReport:
    state = str((approval or {}).get("status") or "unsubmitted").lower()
    declared = frozenset(content.variables or {})
    # A variable can stand in any part of any type of the content: in a body, a button, a header.
    held = frozenset(_PLACEHOLDER.findall(json.dumps(content.types or {})))
    return TemplateReport(content.sid, approved=state == _APPROVED, state=state, variables=declared | held)
