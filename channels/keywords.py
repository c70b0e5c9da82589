"""The one-word messages by which recipients stop, resume or ask for help.

The words are those that carriers and Twilio honour by default. People write them with a full stop, in two words or with
a sign behind; a carrier may pass over that, we do not.
https://help.twilio.com/articles/223134027-Twilio-support-for-opt-out-keywords-SMS-STOP-filtering-
"""

from __future__ import annotations

import unicodedata
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


#: Those that a button bears for nothing else: "Cancel", "Yes" and "Info" answer the question that stands above them.
UNMISTAKABLE = frozenset({"STOP", "STOPALL", "UNSUBSCRIBE", "OPTOUT", "START", "UNSTOP", "HELP"})

#: Of a character's Unicode category: punctuation, spaces, symbols, controls.
_NO_LETTER = "PZSC"


def bare(text: str) -> str:
    """A message as words are compared: in capitals, its letters and digits alone."""
    plain = unicodedata.normalize("NFKC", text).upper()
    return "".join(letter for letter in plain if unicodedata.category(letter)[0] not in _NO_LETTER)


def keyword_in(text: str) -> Keyword | None:
    """The keyword that is the whole message, however it is written; None within a sentence."""
    return KEYWORDS.get(bare(text))


def keyword_on_button(text: str) -> Keyword | None:
    """The keyword that a pressed button means."""
    word = bare(text)
    return KEYWORDS[word] if word in UNMISTAKABLE else None


def carrier_keyword(text: str) -> Keyword | None:
    """The keyword that carriers and Twilio see: spelt as in their list, in any case and with space around it."""
    return KEYWORDS.get(text.strip().upper())
