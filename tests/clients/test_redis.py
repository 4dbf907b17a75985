"""What Redis replies, in plain words: the same, however old the server is."""

from __future__ import annotations

import pytest
import redis.exceptions

from fbcli.clients.redis import error_word, translate
from fbcli.errors import Unavailable, UsageError

BEFORE_7 = "Error running script (call to f_4eb6025cc2ce): "
"""How a server before Redis 7 begins when a command of a script has failed."""

REPLIES = [
    ("WRONGTYPE Operation against a key holding the wrong kind of value", "WRONGTYPE"),
    (f"{BEFORE_7}@user_script:150: WRONGTYPE Operation against a key holding the", "WRONGTYPE"),
    (f"{BEFORE_7}@user_script:3: @user_script: 3: -READONLY You can't write", "READONLY"),
    (f"{BEFORE_7}@user_script:3: @user_script: 3: -MISCONF Redis is configured", "MISCONF"),
    (f"Command # 1 (EVAL x) of pipeline caused error: {BEFORE_7}@user_script:1: -OOM no", "OOM"),
    ("unknown command 'LMOVE'", ""),
    ("Error running script (user_script:1: Script attempted to access nonexistent", ""),
    ("", ""),
]


@pytest.mark.parametrize(("text", "word"), REPLIES)
def test_the_word_of_an_error(text: str, word: str) -> None:
    error = redis.exceptions.ResponseError(text)
    assert error_word(error) == word
    error.status_code = text.partition(" ")[0]  # so redis-py 8 does
    assert error_word(error) == word


def test_redis_py_cuts_off_a_word_that_it_knows() -> None:
    assert error_word(redis.exceptions.ReadOnlyError("You can't write")) == "READONLY"


@pytest.mark.parametrize("begin", ["", f"{BEFORE_7}@user_script:9: "])
def test_the_same_sentence_from_an_old_and_a_new_server(begin: str) -> None:
    def said(text: str) -> object:
        return translate(redis.exceptions.ResponseError(begin + text), "redis://h")

    other = said("WRONGTYPE Operation against a key holding the wrong kind of value")
    assert isinstance(other, UsageError)
    assert "keeps other data under this name" in str(other)
    replica = said("READONLY You can't write against a read only replica.")
    assert isinstance(replica, Unavailable)
    assert "read-only replica" in str(replica)
    full = said("OOM command not allowed when used memory > 'maxmemory'.")
    assert isinstance(full, Unavailable)
    assert "out of memory" in str(full)
    assert said("something else") is None
