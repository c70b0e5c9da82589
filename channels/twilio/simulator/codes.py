"""The error codes the simulator answers with: HTTP status and meaning, in words of our own.

Codes and meanings: https://www.twilio.com/docs/api/errors. Asynchronous ones have no HTTP status: they arrive in a
callback, after the message was accepted.
"""

from __future__ import annotations

import json

#: Code -> (HTTP status, what it means).
API_ERRORS: dict[int, tuple[int, str]] = {
    20001: (400, "A parameter is unknown or malformed"),
    20003: (401, "Authenticate"),
    20004: (405, "Method not allowed"),
    20007: (400, "Page size too large"),
    20404: (404, "The requested resource was not found"),
    20429: (429, "Too Many Requests"),
    20500: (500, "Internal Server Error"),
    20503: (503, "Service Unavailable"),
    21211: (400, "The 'To' number is not a valid phone number"),
    21212: (400, "The 'From' number is not a valid phone number, short code or alphanumeric sender ID"),
    21265: (400, "The 'To' number cannot be a short code"),
    21266: (400, "The 'To' and 'From' numbers cannot be the same"),
    21408: (400, "Permission to send an SMS has not been enabled for the region of the 'To' number"),
    21481: (400, "Invalid PageToken"),
    21601: (400, "The 'From' number is not SMS-capable"),
    21602: (400, "Message body is required"),
    21603: (400, "A 'From' number or a MessagingServiceSid is required"),
    21604: (400, "A 'To' phone number is required"),
    21606: (400, "The 'From' number is not a valid, message-capable number of this account"),
    21608: (400, "The 'To' number is not verified, as trial accounts require"),
    21609: (400, "The StatusCallback is not a valid URL"),
    21610: (400, "Attempt to send to an unsubscribed recipient"),
    21611: (400, "This 'From' number has exceeded the maximum number of queued messages"),
    21612: (400, "The 'To' number cannot be reached from this 'From' number"),
    21614: (400, "The 'To' number is not a valid mobile number"),
    21617: (400, "The concatenated message body exceeds the 1600 character limit"),
    21619: (400, "A text message body, media URLs or a ContentSid must be specified"),
    21620: (400, "A media URL is invalid"),
    21623: (400, "The number of media files exceeds 10"),
    21624: (400, "The validity period is not between 1 and 36000 seconds"),
    21635: (400, "The 'To' number is a landline"),
    21655: (400, "The ContentSid is invalid"),
    21656: (400, "The ContentVariables parameter is invalid"),
    21659: (400, "The 'From' number is not a Twilio number, or a short code of another country"),
    21705: (400, "The MessagingServiceSid is invalid"),
    21910: (400, "The 'To' and 'From' addresses are of different channels"),
    30400: (400, "The message cannot be updated with these parameters"),
    30409: (409, "The message can no longer be canceled or redacted"),
    63007: (400, "No channel found for this 'From' address"),
}

#: Code -> what it means. Sent in a callback, and as `error_message` of the Messages resource.
DELIVERY_ERRORS: dict[int, str] = {
    21703: "The Messaging Service has no sender that can reach the 'To' number",
    30001: "Queue overflow",
    30003: "Unreachable destination handset",
    30004: "Message blocked",
    30005: "Unknown destination handset",
    30006: "Landline or unreachable carrier",
    30007: "Message filtered",
    30008: "Unknown error",
    30017: "Carrier network congestion",
    30036: "Validity period expired",
    63003: "Channel could not find the 'To' address",
    63016: "Free-form message outside the allowed window: use a template",
    63018: "Rate limit of the channel exceeded",
    63021: "Channel invalid content",
    63024: "Invalid message recipient",
    63028: "Number of template parameters does not match",
    63031: "The 'To' and 'From' addresses are the same",
    63033: "Recipient opted out of receiving messages",
    63040: "Template rejected",
    63041: "Template paused",
    63042: "Template disabled",
    63049: "Meta chose not to deliver this marketing message",
}


def meaning(code: int) -> str:
    """What a code means; a code we have no words for still has a sentence."""
    if code in API_ERRORS:
        return API_ERRORS[code][1]
    return DELIVERY_ERRORS.get(code, "Unknown error")


class Refusal(Exception):  # noqa: N818 - an answer of the API, not a failure of ours
    """The API refuses a request with one of its codes."""

    def __init__(self, code: int) -> None:
        super().__init__(meaning(code))
        self.code = code
        self.status = API_ERRORS[code][0] if code in API_ERRORS else 400

    def body(self) -> bytes:
        """The JSON that Twilio answers with."""
        return json.dumps(
            {
                "code": self.code,
                "message": meaning(self.code),
                "more_info": f"https://www.twilio.com/docs/errors/{self.code}",
                "status": self.status,
            }
        ).encode()
