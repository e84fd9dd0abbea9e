"""What alerts are about: the pipelines, executions and tasks that they name."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row

# The fixed ends of what the checks write. A pipeline's name may hold the like, but not after its own id.
_ANOMALY = re.compile(r"\(ID: (\d{1,18})\) - Execution ID (\d{1,18}) flagged$")
_NEW_NORMAL = re.compile(r"\(ID: (\d{1,18})\) - \w+ has been \w+ \d+ times in a row$")
_NAMED_EXECUTION = re.compile(r"\(execution (\d{1,18})\)$")
# Alerts whose details are labelled with the names of pipelines.
_NAMING = ("freshness:", "missed runs:")


@dataclass(frozen=True)
class Link:
    """Where something that an alert names is shown."""

    label: str
    href: str


@dataclass(frozen=True)
class Detail:
    """A line of an alert's details, with the page of what its label or value names, if there is one."""

    label: str
    value: str
    label_href: str | None
    value_href: str | None


def links_of(alert: Row[Any]) -> Sequence[Link]:
    """What the message itself names."""
    anomaly = _ANOMALY.search(alert.message)
    if anomaly is not None:
        pipeline, execution = anomaly.groups()
        return [Link("pipeline", _pipeline(pipeline)), Link(f"execution {execution}", _execution(execution))]
    new_normal = _NEW_NORMAL.search(alert.message)
    if new_normal is not None:
        return [Link("pipeline", _pipeline(new_normal[1]))]
    if alert.dedupe_key.startswith("queue:"):
        return [Link("queues", "/ui/tasks")]
    return []


def names_in(alerts: Iterable[Row[Any]]) -> set[str]:
    """What may be names of pipelines among the labels of these alerts."""
    return {label for alert in alerts if _names_pipelines(alert) for label, _ in _pairs(alert)}


def details_of(alert: Row[Any], pipelines: Mapping[str, int]) -> Sequence[Detail]:
    """The lines of the details; ``pipelines`` has the ids of those that are named."""
    return [
        Detail(label, value, _label_href(alert, label, pipelines), f"/ui/tasks/{value}" if label == "Task ID" else None)
        for label, value in _pairs(alert)
    ]


def _pairs(alert: Row[Any]) -> Iterator[tuple[str, str]]:
    for pair in alert.details:
        label, value = pair
        yield str(label), str(value)


def _names_pipelines(alert: Row[Any]) -> bool:
    return bool(alert.dedupe_key.startswith(_NAMING))


def _label_href(alert: Row[Any], label: str, pipelines: Mapping[str, int]) -> str | None:
    if _names_pipelines(alert) and label in pipelines:
        return _pipeline(pipelines[label])
    execution = _NAMED_EXECUTION.search(label)
    return _execution(execution[1]) if execution is not None else None


def _pipeline(pipeline_id: int | str) -> str:
    return f"/ui/pipelines/{pipeline_id}"


def _execution(execution_id: int | str) -> str:
    return f"/ui/executions/{execution_id}"
