"""The words of the pages for what has a name in the tables of incidents."""

from typing import Any

from watcher_server.incidents.kinds import Kind
from watcher_server.incidents.reading import ListedIncident
from watcher_server.openlineage.pages import web_address

# What is said of the subject while it holds, and when it is over: "orders is stale".
SAYINGS = {
    Kind.FAILING: ("is failing", "was failing"),
    Kind.LOST: ("has lost a run", "had lost a run"),
    Kind.SILENT: ("is silent", "was silent"),
    Kind.MISSED: ("has missed its run", "had missed its run"),
    Kind.LATE: ("is late", "was late"),
    Kind.OVERLAPPING: ("has too many open runs", "had too many open runs"),
    Kind.STALE: ("is stale", "was stale"),
    Kind.ANOMALOUS: ("is out of range", "was out of range"),
    Kind.TASK: ("fails", "failed"),
    Kind.QUEUE: ("is too long", "was too long"),
    Kind.CHANNEL: ("does not deliver", "did not deliver"),
    Kind.WATCHER: ("", ""),
}
# What stands before a subject that is no pipeline.
SUBJECTS = {
    Kind.SILENT: "Namespace",
    Kind.TASK: "Task",
    Kind.QUEUE: "Queue",
    Kind.CHANNEL: "Channel",
    Kind.WATCHER: "Watcher itself:",
}


def title_of(incident: ListedIncident) -> str:
    """What is wrong, or was, in a few words."""
    kind = Kind(incident.kind)
    saying = SAYINGS[kind][incident.resolved_at is not None]
    return " ".join(filter(None, (SUBJECTS.get(kind), incident.name, saying)))


# What the templates know.
WORDS: dict[str, Any] = {
    "title_of": title_of,
    "web_address": web_address,
    "change_words": {
        "opened": "found it",
        "reopened": "found it again",
        "worse": "found it worse",
        "better": "found it better",
        "flapping": "marked it as flapping",
        "acknowledged": "acknowledged it",
        "unacknowledged": "ended the acknowledgement",
        "assigned": "assigned it",
        "snoozed": "snoozed it",
        "unsnoozed": "ended the snooze",
        "commented": "wrote",
        "explained": "found its cause",
        "held": "kept it quiet",
        "told": "told people",
        "resolved": "resolved it",
    },
    # What people were told of.
    "told_words": {
        "opened": "that it opened",
        "reopened": "that it opened again",
        "worse": "that it got worse",
        "better": "that it got better",
        "flapping": "that it flaps",
        "reminder": "that it is still so",
        "escalated": "that nobody has acknowledged it",
        "resolved": "that it is over",
    },
    "resolutions": {"auto": "by itself", "hand": "by hand", "paused": "with its pipeline paused or its check muted"},
}
