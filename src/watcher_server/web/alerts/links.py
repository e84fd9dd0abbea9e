"""What alerts are about, as links."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from watcher_server.alerts.models import Alert, AlertSubject


class Detail(NamedTuple):
    """A line of an alert's details, with the page of what its label or value names, if there is one."""

    label: str
    value: str
    label_href: str | None
    value_href: str | None


def links_of(alert: Alert, subjects: Sequence[AlertSubject]) -> Sequence[tuple[str, str]]:
    """The words and addresses of what the message itself is about. What is one of many is named in the details.

    Of the incidents that it told of the first ten are there.
    """
    incidents = sorted({each.incident_id for each in subjects if each.incident_id is not None})
    told = [(f"incident #{incident}", f"/ui/incidents/{incident}") for incident in incidents[:10]]
    if alert.kind == "queue":
        return [*told, ("queues", "/ui/tasks")]
    pipelines = {each.pipeline_id for each in subjects if each.pipeline_id is not None}
    executions = {each.execution_id for each in subjects if each.execution_id is not None}
    if len(pipelines) > 1 or len(executions) > 1:
        return told
    return [
        *told,
        *(("pipeline", f"/ui/pipelines/{pipeline}") for pipeline in pipelines),
        *((f"execution {execution}", f"/ui/executions/{execution}") for execution in executions),
    ]


def details_of(alert: Alert, subjects: Sequence[AlertSubject], names: Mapping[int, str]) -> Sequence[Detail]:
    """The lines of the details; ``names`` has those of the pipelines that the alert is about."""
    # The pages of what the alert is about, by the labels that alerts give it: that of an execution, or a pipeline.
    labels: dict[str, str] = {}
    for each in subjects:
        if each.pipeline_id is None or (name := names.get(each.pipeline_id)) is None:
            continue
        labels.setdefault(name, f"/ui/pipelines/{each.pipeline_id}")
        if each.execution_id is not None:
            labels[f"{name} (execution {each.execution_id})"] = f"/ui/executions/{each.execution_id}"
    tasks = {str(each.task_id) for each in subjects if each.task_id is not None}
    return [
        Detail(label, value, labels.get(label), f"/ui/tasks/{value}" if value in tasks else None)
        for label, value in alert.details
    ]
