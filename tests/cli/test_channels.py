"""``watcher channels test`` as a user runs it, against a real api."""

import httpx

from tests.config_file.test_commands import run
from tests.support.live import LiveServer


def test_the_channel_of_the_settings_is_tested_and_one_that_there_is_not_is_said(live: LiveServer) -> None:
    done = run("channels", "test", "default", url=live.url)
    assert (done.returncode, done.stdout) == (0, "The test arrived at default (log).\n")

    missing = run("channels", "test", "no where", url=live.url)
    assert (missing.returncode, missing.stdout) == (1, "")
    assert "No channel has the name 'no where'." in missing.stderr


def test_a_channel_that_does_not_deliver_is_status_1(live: LiveServer) -> None:
    teams = {"type": "teams", "url": {"env": "NOT_HERE"}}
    url = f"{live.url}/alerting/channels/teams"
    httpx.put(url, json=teams).raise_for_status()
    try:
        done = run("channels", "test", "teams", url=live.url)
    finally:
        httpx.delete(url).raise_for_status()

    assert done.returncode == 1
    assert done.stdout == "The test did not arrive at teams: The variable NOT_HERE is not set in this process.\n"
