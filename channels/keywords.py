"""The one-word messages by which recipients stop, resume or ask for help.

The words are those that carriers and Twilio honour by default.
https://help.twilio.com/articles/223134027-Twilio-support-for-opt-out-keywords-SMS-STOP-filtering-
"""

from __future__ import annotations

from collections.abc import Mapping

from channels.model import Keyword

KEYWORDS: Mapping[str, Keyword] = {
    "STOP": Keyword.STOP,
    "STOPALL": Keyword.STOP,
    "UNSUBSCRIBE": Keyword.STOP,
    "CANCEL": Keyword.STOP,
    "END": Keyword.STOP,
    "QUIT": Keyword.STOP,
    "OPTOUT": Keyword.STOP,
    "REVOKE": Keyword.STOP,
    "START": Keyword.START,
    "YES": Keyword.START,
    "UNSTOP": Keyword.START,
    "HELP": Keyword.HELP,
    "INFO": Keyword.HELP,
}


def keyword_in(text: str) -> Keyword | None:
    """The keyword that is the whole message, in any case and with space around it; None within a sentence."""
    return KEYWORDS.get(text.strip().upper())
