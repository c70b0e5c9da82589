"""The HTTP endpoints for machines: what may be asked of the two listeners and what is answered, as OpenAPI 3.1.

Providers call the webhooks in their own form, of which only what the router needs is required here; everything else
that they send is taken and kept as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

_TEXT = {"text/plain": {"schema": {"type": "string"}}}
_SIGNED: list[dict[str, list[str]]] = [{"signature": []}]

#: The fields without which a callback says nothing. Twilio sends some thirty more.
_STATUS_FORM = {
    "type": "object",
    "required": ["MessageSid", "MessageStatus"],
    "properties": {
        "MessageSid": {"type": "string", "minLength": 1},
        "MessageStatus": {
            "type": "string",
            "minLength": 1,
            "description": "a word that is not known is kept in the log",
        },
        "ErrorCode": {"type": "string"},
        "ChannelStatusMessage": {"type": "string"},
        "EventType": {"type": "string", "description": "READ, for a read receipt on WhatsApp"},
        "RawDlrDoneDate": {"type": "string", "description": "YYMMDDhhmm"},
    },
    "additionalProperties": {"type": "string"},
}
_INBOUND_FORM = {
    "type": "object",
    "required": ["MessageSid", "From", "To"],
    "properties": {
        "MessageSid": {"type": "string", "minLength": 1},
        "From": {"type": "string", "pattern": r"^(whatsapp:)?\+[1-9][0-9]{6,14}$"},
        "To": {"type": "string", "minLength": 1},
        "Body": {"type": "string"},
        "NumMedia": {"type": "string", "pattern": "^[0-9]{1,3}$"},
        "OptOutType": {"type": "string", "enum": ["STOP", "START", "HELP"]},
        "ButtonText": {"type": "string"},
        "ButtonPayload": {"type": "string"},
        "ProfileName": {"type": "string"},
    },
    "additionalProperties": {"type": "string"},
}
#: Which attempt a status callback speaks of: the router puts it into the address that it gives the provider.
_REFERENCE = [
    {"name": name, "in": "query", "required": False, "description": what, "schema": {"type": "string"}}
    for name, what in (("n", "<source>.<id>"), ("a", "number of the attempt"), ("t", "token of the attempt"))
]


def openapi() -> dict[str, Any]:
    """The OpenAPI 3.1 document of both listeners."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Pointsman",
            "version": version("pointsman"),
            "summary": "Webhooks for providers on the public listener, health and documents on that of operators.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "http://127.0.0.1:8080", "description": "http.public_url"}],
        "paths": {
            "/twilio/status": _webhook("twilioStatus", "A status callback", _STATUS_FORM, _STORED, _REFERENCE),
            "/twilio/inbound": _webhook("twilioInbound", "A message from a recipient", _INBOUND_FORM, _TWIML, []),
            "/healthz": _page("alive", "Whether the process answers", _ALIVE, closed="closed for good: restart it"),
            "/readyz": _page("ready", "Whether it takes work", _READY, closed="not ready, or draining"),
            "/metrics": _page("metrics", "For Prometheus", _METRICS),
            "/asyncapi": _page("asyncapiPage", "What is on NATS, for people", _HTML),
            "/asyncapi.json": _page("asyncapi", "The same as a document", _DOCUMENT),
            "/openapi.json": _page("openapi", "This document", _DOCUMENT),
        },
        "components": {
            "securitySchemes": {
                "signature": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "X-Twilio-Signature",
                    "description": "of http.public_url, path, query and form, with TWILIO_AUTH_TOKEN",
                }
            }
        },
    }


def _json(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "application/json": {"schema": {"type": "object", "required": [*properties], "properties": dict(properties)}}
    }


_STORED = {"204": {"description": "stored, or nothing new"}}
_TWIML = {"200": {"description": "stored; TwiML with the answer, if any", "content": {"text/xml": {}}}}
_ALIVE = _json({"status": {"type": "string"}})
_READY = _json(
    {
        "status": {"enum": ["ready", "not ready"]},
        "problems": {"type": "array", "items": {"type": "string"}},
        "notes": {"type": "object", "additionalProperties": {"type": "string"}},
    }
)
_METRICS = {"text/plain": {"schema": {"type": "string"}}}
_HTML = {"text/html": {"schema": {"type": "string"}}}
_DOCUMENT = {"application/json": {"schema": {"type": "object"}}}

_REFUSALS = {
    "400": "a field is missing or cannot be read; the body names it",
    "403": "not signed, or not by the account",
    "404": "no such path",
    "408": "the body did not arrive in time",
    "413": "larger than http.max_body",
    "431": "the head is larger than 64 kB",
    "503": "could not be stored, draining, or too many at once: try again",
}


def _webhook(
    name: str, summary: str, form: Mapping[str, Any], taken: Mapping[str, Any], parameters: list[dict[str, Any]]
) -> dict[str, Any]:
    refused = {status: {"description": why, "content": _TEXT} for status, why in _REFUSALS.items()}
    post = {
        "operationId": name,
        "summary": summary,
        "tags": ["public"],
        "security": _SIGNED,
        "requestBody": {"required": True, "content": {"application/x-www-form-urlencoded": {"schema": form}}},
        "responses": {**taken, **refused, "405": _not_allowed("POST")},
    }
    return {"post": {**post, "parameters": parameters} if parameters else post}


def _page(name: str, summary: str, content: Mapping[str, Any], *, closed: str = "") -> dict[str, Any]:
    responses: dict[str, Any] = {"200": {"description": summary, "content": content}, "405": _not_allowed("GET, HEAD")}
    if closed:
        responses["503"] = {"description": closed, "content": content}
    servers = [{"url": "http://127.0.0.1:9090", "description": "http.admin_listen"}]
    return {
        "servers": servers,
        "get": {"operationId": name, "summary": summary, "tags": ["admin"], "responses": responses},
    }


def _not_allowed(methods: str) -> dict[str, Any]:
    allow = {"Allow": {"schema": {"const": methods}}}
    return {"description": "another method", "headers": allow, "content": _TEXT}
