"""What the configuration refuses, beyond what its types say."""

from __future__ import annotations

import pytest

from channels.model import Keyword
from router.settings import ConsentSettings


def test_words_of_ones_own_are_compared_as_recipients_write_them() -> None:
    settings = ConsentSettings.model_validate({"stop_words": ["¡Baja!", "no más"], "start_words": ["Sí"]})
    assert settings.words == {"BAJA": Keyword.STOP, "NOMÁS": Keyword.STOP, "SÍ": Keyword.START}


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ({"stop_words": ["..."]}, "must have a letter or a digit"),
        ({"stop_words": ["Baja"], "help_words": ["baja!"]}, "the word 'BAJA' is given twice"),
        ({"start_words": ["Cancel"]}, "the word 'CANCEL' means STOP everywhere"),
    ],
)
def test_a_word_means_one_thing(table: dict[str, list[str]], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        ConsentSettings.model_validate(table)
