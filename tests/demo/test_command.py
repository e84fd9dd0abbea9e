"""What the demo says when it cannot run."""

import socket
from datetime import datetime

import pytest

from watcher_server.demo.command import demo

WAREHOUSE = "postgresql://nobody@127.0.0.1:1/none"


@pytest.fixture
def closed_url() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def _says(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_no_server_says_how_to_start_one(closed_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        demo(url=closed_url, warehouse_url=WAREHOUSE)
    assert ended.value.code == 1
    assert f"No Watcher answers at {closed_url}: start one with `watcher up`" in _says(capsys)


def test_something_that_is_no_address_says_what_one_looks_like(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        demo(url="localhost:8000", warehouse_url=WAREHOUSE)
    assert "give one like http://127.0.0.1:8000" in _says(capsys)


def test_what_it_quotes_does_not_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        demo(url="gopher://\x9b2J", warehouse_url=WAREHOUSE)
    assert r"gopher://\x9b2J is not an address" in _says(capsys)


def test_days_outside_the_year_are_refused(closed_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        demo(url=closed_url, first=datetime(2014, 1, 1))  # noqa: DTZ001 - a calendar day
    assert "from 2013-01-01 to 2013-12-31" in _says(capsys)
