"""Hiding secrets takes time in proportion to the message, and hides what it always hid."""

import re
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from watcher_server.telemetry import redaction
from watcher_server.telemetry.redaction import redact

# As it was when it took quadratic time.
FORMER = re.compile(r"(\b[A-Za-z][\w+.-]*://[^\s/:@\"']*:)[^\s/@\"']+(?=@)")
PIECES = ["a", "B", "1", "_", "é", "+", ".", "-", "://", ":", "/", "@", " ", "\n", "'", '"', "redis", "u:p@", "=", ","]


@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
@example("a.1://u:p@h")
@example("1.a://u:p@h")
@example("1a://u:p@h")
@example("é-a://u:p@h://v:q@i")
@example("a://b:c:d@e@f")
def test_it_hides_the_same_passwords_of_urls_as_ever(message: str) -> None:
    new = redaction._IN_A_URL.sub(r"\g<1>***", message)  # noqa: SLF001 - one pattern of several
    assert new == FORMER.sub(r"\g<1>***", message)


def _processor_seconds(message: str) -> float:
    began = time.thread_time()
    redact(message)
    return time.thread_time() - began


@pytest.mark.parametrize(
    "piece",
    ["a.", "a-", "a+b", "a", "a://", "a://b", "a://b:", "a://b:c", "1.", "password", "secret ", "secret=", "secret='",
     "secret=\"'", "api_key:", "x_", "Bearer ", "Bearer a ", "watcher_", "watcher_-", "b'", "=", " ", "@", "é."],
)  # fmt: skip
def test_four_times_the_message_takes_no_sixteen_times_the_work(piece: str) -> None:
    # The processor's time of this thread, and not the clock's: other processes do not count.
    size = 100_000 // len(piece)
    short = max(min(_processor_seconds(piece * size) for _ in range(3)), 0.001)
    assert _processor_seconds(piece * size * 4) < 12 * short
