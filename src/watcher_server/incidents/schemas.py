"""The HTTP shapes of incidents."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import MISSING, AfterValidator, BaseModel, FailFast, Field, StringConstraints, model_validator

from watcher_server.incidents.kinds import Kind
from watcher_server.incidents.reading import IncidentFilter, WantedState
from watcher_server.kit.fields import (
    INT_MAX,
    Id,
    PersonName,
    RequestBody,
    ResponseBody,
    SearchText,
    Soon,
    UtcDatetime,
    check_no_nul,
)

MOST_CHANGED = 500
LONGEST_COMMENT = 2_000


class State(StrEnum):
    """How far an incident is."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


class Snooze(StrEnum):
    """Until what an incident is quiet: a moment, the next run of its pipeline, or until it gets worse."""

    TIME = "time"
    NEXT_RUN = "next_run"
    WORSE = "worse"


Label = Annotated[str, StringConstraints(max_length=150), AfterValidator(check_no_nul)]
Version = Annotated[int, Field(ge=1, le=INT_MAX)]


class IncidentQuery(BaseModel):
    """Which incidents a list holds; ``live`` are all that are not resolved."""

    state: WantedState | None = None
    kind: Kind | None = None
    owner: Annotated[Label | None, Field(description="The owner in force of its pipeline, in full.")] = None
    tag: Annotated[Label | None, Field(description="A tag of its pipeline, in full.")] = None
    pipeline_id: Id | None = None
    root_id: Annotated[Id | None, Field(description="The incident that explains it.")] = None
    since: Annotated[UtcDatetime | None, Field(description="Those that were opened or resolved from then on.")] = None
    q: Annotated[
        SearchText | None, Field(description="A part of a name, a detail or an assignee; or a number, as #12.")
    ] = None

    def wanted(self) -> IncidentFilter:
        """The filter; an empty text filters nothing."""
        given = {name: getattr(self, name) for name in type(self).model_fields}
        return IncidentFilter(**{name: value for name, value in given.items() if value != ""})


class IncidentChanges(RequestBody):
    """What to change of an incident; a field that is left out stays.

    ``acknowledged_until`` goes with an acknowledgement, null for one that does not end by itself. ``snoozed_until``
    goes with the snooze ``time``; a null ``snooze`` ends it. Both lie within a year. ``force`` resolves what still
    holds, which then stays quiet until it was over once, or gets worse.
    """

    state: State | MISSING = MISSING
    acknowledged_until: Soon | None = None
    assignee: PersonName | None = None
    snooze: Snooze | None = None
    snoozed_until: Soon | None = None
    force: bool | MISSING = MISSING

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        given = self.model_fields_set
        if not given & {"state", "acknowledged_until", "assignee", "snooze"} and self.snoozed_until is None:
            raise ValueError("Say what to change: state, acknowledged_until, assignee or snooze")
        if self.acknowledged_until and "state" in given and self.state is not State.ACKNOWLEDGED:
            raise ValueError("acknowledged_until goes with the state acknowledged")
        if (self.snooze is Snooze.TIME) != (self.snoozed_until is not None):
            raise ValueError("the snooze 'time' goes with snoozed_until, and no other does")
        if self.snooze and "state" in given and self.state is State.RESOLVED:
            raise ValueError("what is resolved cannot be snoozed")
        return self


class IncidentPatch(IncidentChanges):
    """Changes to one incident, by somebody who saw it at this ``version``."""

    version: Version


class IncidentVersion(RequestBody):
    """An incident, and the version of it that somebody saw."""

    id: Id
    version: Version


class IncidentsPatch(IncidentChanges):
    """The same changes to many incidents."""

    ids: Annotated[list[IncidentVersion], FailFast(), Field(min_length=1, max_length=MOST_CHANGED)]

    @model_validator(mode="after")
    def _check_named_once(self) -> Self:
        if len({seen.id for seen in self.ids}) < len(self.ids):
            raise ValueError("ids must not name an incident twice")
        return self


class CommentPost(RequestBody):
    """What somebody says of an incident; it may have several lines."""

    text: Annotated[
        str,
        StringConstraints(strip_whitespace=True, min_length=1, max_length=LONGEST_COMMENT),
        AfterValidator(check_no_nul),
    ]


class IncidentResponse(ResponseBody):
    """An incident as a list shows it. Times are UTC, and null for what has not happened.

    ``pipeline_id`` is null for what is no pipeline: the ``subject`` names it then. ``owner``, ``criticality`` and
    ``runbook_url`` are those in force of the pipeline. ``since`` is when it began, ``opened_at`` when it was found;
    ``detail`` says what was found last, ``count`` in how many runs. ``root_id`` is the incident that explains it, and
    ``effects`` how many open ones it explains. ``told_at`` is when people were told of it; null while its root speaks
    for it. ``quiet`` says that it was resolved by hand while it held. A change has to name the ``version``.
    """

    id: int
    kind: str
    pipeline_id: int | None
    pipeline_name: str | None
    subject: str
    owner: str | None
    criticality: str | None
    runbook_url: str | None
    state: State
    level: str
    detail: str
    count: int
    execution_id: int | None
    task_id: UUID | None
    since: datetime
    opened_at: datetime
    changed_at: datetime
    resolved_at: datetime | None
    resolution: Literal["auto", "hand", "paused"] | None
    root_id: int | None
    root_kind: str | None
    root_name: str | None
    effects: int
    assignee: str | None
    acknowledged_by: str | None
    acknowledged_at: datetime | None
    acknowledged_until: datetime | None
    snooze: Snooze | None
    snoozed_until: datetime | None
    flapping: bool
    quiet: bool
    told_at: datetime | None
    version: int


class EventResponse(ResponseBody):
    """One thing that happened to an incident.

    ``change`` is opened, reopened, worse, better, flapping, acknowledged, unacknowledged, assigned, snoozed, unsnoozed,
    commented, explained, held, told or resolved; ``actor`` the name of a token, ``cli``, ``loopback``, or ``watcher``.
    """

    id: int
    at: datetime
    change: str
    actor: str
    text: str | None


class RunResponse(ResponseBody):
    """The execution that shows it; ``error`` is what a failed one says of itself.

    ``outcome`` is null, ``lost``, ``aborted`` or ``retried``.
    """

    id: int
    start_date: datetime
    end_date: datetime | None
    completed_successfully: bool | None
    outcome: str | None
    duration_seconds: int | None
    total_rows: int | None
    error: str | None


class OutOfRangeResponse(ResponseBody):
    """A metric of that execution that is out of range, in its own unit; learnt from ``baseline_runs`` executions."""

    result_id: int
    metric_field: str
    value: float
    lower_bound: float
    upper_bound: float
    z_score: float
    baseline_runs: int


class StaleStateResponse(ResponseBody):
    """What the freshness check logged; ``last_dml_timestamp`` is null for one that had never written nor looked."""

    evaluated_at: datetime
    last_dml_timestamp: datetime | None
    freshness_number: int
    freshness_datepart: str


class OverdueRunResponse(ResponseBody):
    """What the timeliness check logged; ``execution_status`` is running or completed."""

    evaluated_at: datetime
    execution_id: int
    execution_status: str
    duration_seconds: int | None
    seconds_threshold: int | None


class MissedRunResponse(ResponseBody):
    """What the schedule check logged, with the schedule as it was then."""

    evaluated_at: datetime
    expected_at: datetime
    schedule: str
    schedule_timezone: str
    schedule_grace_minutes: int


class EvidenceResponse(ResponseBody):
    """What shows that it is wrong, the newest first; empty where it is older than the retention."""

    run: RunResponse | None
    metrics: list[OutOfRangeResponse]
    stale: list[StaleStateResponse]
    overdue: list[OverdueRunResponse]
    missed: list[MissedRunResponse]


class DeliveryResponse(ResponseBody):
    """An alert about an incident on its way to a channel, as `GET /notification` has it."""

    id: int
    alert_id: int
    channel: str
    state: str
    level: str
    title: str
    change: str | None
    created_at: datetime
    next_try_at: datetime
    attempts: int
    perhaps_sent: bool
    refused: bool
    sent_at: datetime | None
    sent_to: str | None
    sent_in: int | None
    last_error: str | None


class IncidentDetailResponse(IncidentResponse):
    """An incident, whole.

    The ``timeline`` is the newest 500 events, the oldest of them first. ``explains`` are the first 200 open incidents
    that it explains, ``perhaps`` open ones that may be its cause. ``deliveries`` are the newest 200, newest first.
    """

    timeline: list[EventResponse]
    explains: list[IncidentResponse]
    perhaps: list[IncidentResponse]
    evidence: EvidenceResponse
    deliveries: list[DeliveryResponse]


class OutcomeResponse(ResponseBody):
    """What came of the change of one incident: the incident as it is now, or why it was refused.

    ``status`` is the one that a change of this incident alone would have: 200, 404, 409 or 422.
    """

    id: int
    status: int
    detail: str | None
    incident: IncidentResponse | None


class OutcomesResponse(ResponseBody):
    """What came of each, in the order of the request; ``changed`` is how many were done."""

    changed: int
    outcomes: list[OutcomeResponse]
