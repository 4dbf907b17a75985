"""What an error says, whatever its own code does."""

from __future__ import annotations

from typing import Any

from fbcli.values.error_text import MOST_TEXT, cut, name_of, sentence_of, text_of


class Mute(Exception):
    def __str__(self) -> str:
        raise KeyError("no words")


class Strange(str):
    """Text that does as it likes."""

    def isascii(self) -> bool:
        raise ValueError

    def __len__(self) -> int:
        return -5

    def __getitem__(self, key: Any) -> str:
        raise ValueError


class Speaking(Exception):
    def __str__(self) -> str:
        return Strange("strange")


def test_what_it_says() -> None:
    assert text_of(ValueError("bad")) == "bad"
    assert sentence_of(ValueError("bad")) == "ValueError: bad"
    assert sentence_of(ValueError()) == "ValueError"


def test_one_that_cannot_say_it() -> None:
    assert sentence_of(Mute()) == "Mute: its text could not be made: KeyError"


def test_text_of_any_class_becomes_plain_text() -> None:
    assert type(text_of(Speaking())) is str
    assert text_of(Speaking()) == "strange"


def test_a_name_is_that_of_the_class_whatever_that_says() -> None:
    class Meta(type):
        def __getattribute__(cls, name: str) -> Any:
            raise ValueError

    class Odd(Exception, metaclass=Meta):
        pass

    assert name_of(Odd()).endswith("Odd")


def test_what_is_cut_says_so() -> None:
    text = text_of(ValueError("x" * 1_000_000))
    assert len(text) <= MOST_TEXT
    assert text.endswith(" more characters)")
    assert cut("short", 10) == "short"
