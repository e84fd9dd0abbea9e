"""The word for a state is the same in the API, on the pages and in the glossary."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import get_args

import pytest

from watcher_server.alerts.config.answers import ChannelState
from watcher_server.alerts.levels import Level
from watcher_server.alerts.schemas import NotificationState
from watcher_server.anomalies.schemas import RuleResponse
from watcher_server.executions.recent import Outcome
from watcher_server.incidents.schemas import State as IncidentState
from watcher_server.openlineage.inspecting import State as EventState
from watcher_server.pipelines.status import WORDS
from watcher_server.tasking.history.states import TaskState
from watcher_server.tasking.queues.levels import QueueLevel
from watcher_server.tasking.workers.service import WorkerState

ROOT = Path(__file__).parents[2]
TEMPLATES = ROOT / "src" / "watcher_server" / "web" / "templates"
STATES: dict[str, Iterable[str]] = {
    "pipeline": WORDS,
    "run": [outcome for outcome in Outcome if outcome not in (Outcome.ALL, Outcome.MOVES)],
    "task": TaskState,
    "incident": IncidentState,
    "alert": Level,
    "message": NotificationState,
    "channel": get_args(ChannelState),
    "queue": QueueLevel,
    "worker": WorkerState,
    "rule": get_args(RuleResponse.model_fields["state"].annotation),
    "event": EventState,
}
# What stands beside a state: a mark, or what a page says of several.
MARKS = {"affected", "flapping", "snoozed"}


@pytest.mark.parametrize("of", STATES)
def test_the_glossary_has_the_words_of_the_api(of: str) -> None:
    glossary = (ROOT / "docs" / "glossary.md").read_text()
    assert [word for word in STATES[of] if not re.search(rf"\b{word}\b", glossary)] == []


def test_pages_print_the_words_of_the_api() -> None:
    known = {word.lower() for words in STATES.values() for word in words} | MARKS
    text = "\n".join(file.read_text() for file in TEMPLATES.rglob("*.html"))
    printed = set(re.findall(r'\bstatus\("(\w+)"\)', text))
    assert len(printed) > 5
    assert printed <= known
    # A rule has the look of another state, and its own word.
    assert set(re.findall(r'status\("\w+", "(inactive|off|ready)"\)', text)) == {"inactive", "ready"}
