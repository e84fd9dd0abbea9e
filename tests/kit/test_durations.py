"""Durations are read in their two largest units."""

import pytest

from watcher_server.kit.durations import duration_text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.4, "0s"),
        (59.4, "59s"),
        (59.6, "1m"),
        (60, "1m"),
        (90, "1m 30s"),
        (3_599.9, "1h"),
        (3_661, "1h 1m"),
        (86_399, "23h 59m"),
        (86_400, "1d"),
        (200_000, "2d 7h"),
        (-3, "0s"),
    ],
)
def test_a_duration_reads_as_people_say_it(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
