"""Content templates: rendering, and the resources of the Content API.

https://www.twilio.com/docs/content/content-api-resources
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from channels.twilio.simulator.clock import iso8601

_PLACEHOLDER = re.compile(r"\{\{\s*([A-Za-z0-9_]{1,16})\s*\}\}")
#: Values that Twilio refuses with 21656: https://www.twilio.com/docs/api/errors/21656
_BAD_VALUE = re.compile(r"[\n\t]| {5}|[\ud800-\udfff]")
_VARIABLE_NAME = re.compile(r"[A-Za-z0-9_]{1,16}")
CONTENT_SID = re.compile(r"HX[0-9a-f]{32}")
MAX_VARIABLES = 100
MAX_VALUE = 1600  # characters


class ContentTemplate(BaseModel):
    """One template and what WhatsApp thinks of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sid: str = Field(pattern=r"^HX[0-9a-f]{32}$")
    name: str = "template"
    language: str = "en"
    text: str = ""  #: with `{{1}}` or `{{name}}` where variables go
    variables: Mapping[str, str] = Field(default_factory=dict)  #: default values
    category: Literal["UTILITY", "MARKETING", "AUTHENTICATION"] = "UTILITY"
    status: Literal["unsubmitted", "received", "pending", "approved", "rejected", "paused", "disabled"] = "approved"
    rejection_reason: str = ""

    def render(self, values: Mapping[str, str]) -> str:
        """The text with its variables; one with neither value nor default stays as written."""

        def value(match: re.Match[str]) -> str:
            return values.get(match[1], self.variables.get(match[1], match[0]))

        return _PLACEHOLDER.sub(value, self.text)


def is_complete(rendered: str) -> bool:
    """Whether every variable of a rendered text got a value."""
    return _PLACEHOLDER.search(rendered) is None


def parse_variables(text: str | None) -> Mapping[str, str] | None:
    """The values of `ContentVariables`, or None where Twilio answers 21656."""
    if not text:
        return {}
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, dict) or len(values) > MAX_VARIABLES:
        return None
    if all(_VARIABLE_NAME.fullmatch(name) and _is_good(value) for name, value in values.items()):
        return values
    return None


def _is_good(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_VALUE and _BAD_VALUE.search(value) is None


def content_resource(template: ContentTemplate, account_sid: str, created: float, base_url: str) -> dict[str, Any]:
    """`GET /v1/Content/{sid}`."""
    url = f"{base_url}/v1/Content/{template.sid}"
    return {
        "sid": template.sid,
        "account_sid": account_sid,
        "friendly_name": template.name,
        "language": template.language,
        "variables": dict(template.variables),
        "types": {"twilio/text": {"body": template.text}},
        "date_created": iso8601(created),
        "date_updated": iso8601(created),
        "url": url,
        "links": {"approval_fetch": f"{url}/ApprovalRequests", "approval_create": f"{url}/ApprovalRequests/whatsapp"},
    }


def _approval(template: ContentTemplate) -> dict[str, Any]:
    return {
        "type": "whatsapp",
        "name": template.name,
        "category": template.category,
        "content_type": "twilio/text",
        "status": template.status,
        "rejection_reason": template.rejection_reason,
        "allow_category_change": False,
    }


def approval_resource(template: ContentTemplate, account_sid: str, base_url: str) -> dict[str, Any]:
    """`GET /v1/Content/{sid}/ApprovalRequests`."""
    return {
        "sid": template.sid,
        "account_sid": account_sid,
        "whatsapp": _approval(template),
        "url": f"{base_url}/v1/Content/{template.sid}/ApprovalRequests",
    }


def approvals_page(
    templates: Mapping[str, ContentTemplate], account_sid: str, created: float, base_url: str
) -> dict[str, Any]:
    """`GET /v1/ContentAndApprovals`: all templates on one page."""
    url = f"{base_url}/v1/ContentAndApprovals"
    contents = [
        content_resource(template, account_sid, created, base_url) | {"approval_requests": _approval(template)}
        for template in templates.values()
    ]
    meta = {
        "key": "contents",
        "page": 0,
        "page_size": max(50, len(contents)),
        "first_page_url": url,
        "previous_page_url": None,
        "next_page_url": None,
        "url": url,
    }
    return {"contents": contents, "meta": meta}
