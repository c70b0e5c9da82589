from __future__ import annotations

import pytest

from channels.keywords import KEYWORDS, UNMISTAKABLE, bare, carrier_keyword, keyword_in, keyword_on_button
from channels.model import Keyword


@pytest.mark.parametrize(("word", "keyword"), KEYWORDS.items())
def test_a_keyword_is_heard_in_any_case_and_with_space_around_it(word: str, keyword: Keyword) -> None:
    ways = (word, word.lower(), word.title(), f" \n{word}\t ")
    assert {hear(text) for text in ways for hear in (keyword_in, carrier_keyword)} == {keyword}


@pytest.mark.parametrize(
    "text",
    [
        "Stop.",
        "STOP!",
        "stop!!!",
        '"stop"',
        "stop all",
        "opt out",
        "Opt-Out",
        "S T O P",
        "STOP \U0001f6d1",
        "\uff33\uff34\uff2f\uff30",
        "stop\u200b",
    ],
)
def test_a_stop_is_heard_however_it_is_written(text: str) -> None:
    assert keyword_in(text) is Keyword.STOP
    assert carrier_keyword(text) is None


@pytest.mark.parametrize(
    "text", ["", " ", "...", "please stop", "STOP it", "stopp", "don't stop", "no", "\U0001f6d1", "बंद"]
)
def test_a_sentence_is_no_keyword(text: str) -> None:
    assert keyword_in(text) is None


def test_a_button_is_a_keyword_only_where_it_cannot_be_anything_else() -> None:
    assert {word for word in KEYWORDS if keyword_on_button(word)} == UNMISTAKABLE
    assert {word: keyword_on_button(word) for word in ("Stop.", "Opt out", "Start")} == {
        "Stop.": Keyword.STOP,
        "Opt out": Keyword.STOP,
        "Start": Keyword.START,
    }


def test_every_keyword_has_a_word() -> None:
    assert set(KEYWORDS.values()) == set(Keyword)
    assert {bare(word) for word in KEYWORDS} == set(KEYWORDS)


def test_words_of_other_scripts_keep_their_signs() -> None:
    assert bare(" बंद करो! ") == "बंदकरो"
