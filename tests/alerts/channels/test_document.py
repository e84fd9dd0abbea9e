"""The page about channels: each of its examples is one, and what it says of answers is so."""

import json
import re
from pathlib import Path

import pytest
import yaml

from tests.support.snapshots import snapshot
from watcher_server.alerts.channels import webhook
from watcher_server.alerts.config.channel_types import read_channel
from watcher_server.alerts.sending import SENDERS

PAGE = (Path(__file__).parents[3] / "docs" / "channels.md").read_text()
EXAMPLES = [
    (name, spec)
    for block in re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)
    for name, spec in yaml.safe_load(block)["channels"].items()
]


@pytest.mark.parametrize(("name", "spec"), EXAMPLES, ids=[f"{name} {spec['type']}" for name, spec in EXAMPLES])
def test_each_example_is_a_channel_of_ten_lines(name: str, spec: dict[str, object]) -> None:
    assert read_channel(spec).type == spec["type"]
    assert len(spec) <= 10, name


def test_every_type_has_an_example() -> None:
    assert {spec["type"] for _, spec in EXAMPLES} == set(SENDERS) - {"default"}


def test_the_event_of_a_webhook_is_the_one_of_the_page() -> None:
    (shown,) = re.findall(r"```json\n(.*?)```", PAGE, flags=re.DOTALL)
    told = snapshot(details=[("Since", "2026-11-22 00:14:02 UTC")])

    assert json.loads(shown) == webhook.render(told)
