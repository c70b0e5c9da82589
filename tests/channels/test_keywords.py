from __future__ import annotations

import pytest

from channels.keywords import KEYWORDS, keyword_in
from channels.model import Keyword


@pytest.mark.parametrize(("word", "keyword"), KEYWORDS.items())
def test_a_keyword_is_heard_in_any_case_and_with_space_around_it(word: str, keyword: Keyword) -> None:
    assert {keyword_in(text) for text in (word, word.lower(), word.title(), f" \n{word}\t ")} == {keyword}


@pytest.mark.parametrize("text", ["", " ", "please stop", "STOP it", "stopp", "don't stop", "no", "S T O P", "🛑"])
def test_a_sentence_is_no_keyword(text: str) -> None:
    assert keyword_in(text) is None


def test_every_keyword_has_a_word() -> None:
    assert set(KEYWORDS.values()) == set(Keyword)
