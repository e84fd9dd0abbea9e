"""Which pipelines an alert names, and what it says of each."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from watcher_server.lineage.impact import count_downstream, downstream_text

# Of more, an alert gives the number.
NAMED_IN_ALERT = 20


@dataclass(frozen=True)
class Named:
    """A pipeline that an alert names, under which label, and what happened."""

    pipeline_id: int
    label: str
    text: str


def name_in_alert(connection: Connection, named: Sequence[Named], total: int) -> list[tuple[str, str]]:
    """The details of an alert over ``total`` of something: the first with what lies downstream, then how many more.

    ``named`` holds at least the first that the alert is to name.
    """
    first = named[:NAMED_IN_ALERT]
    downstream = count_downstream(connection, sorted({each.pipeline_id for each in first}))
    details = [(each.label, _append(each.text, downstream_text(downstream.get(each.pipeline_id, 0)))) for each in first]
    if total > len(first):
        details.append(("Others", f"and {total - len(first)} more"))
    return details


def _append(text: str, downstream: str) -> str:
    return f"{text}, {downstream}" if downstream else text
