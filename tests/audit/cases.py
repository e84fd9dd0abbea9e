"""Every writing route: a request that changes something and the entry it leaves, or why it leaves none."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from fastapi import FastAPI
from starlette.routing import Route

READING = {"GET", "HEAD"}

CHANNEL = {"type": "discord", "url": {"env": "TEAM_DISCORD"}}
ROUTE = {"match": {"owner": ["finance"]}, "to": ["default"]}
CALENDAR = {"zone": "UTC", "weekly": ["mon-fri 08:00-18:00"]}
MATCH = {"pipeline": ["orders"]}
WINDOW = {"match": MATCH, "cron": "0 22 * * SAT", "duration": "4h"}
LIMIT = "/rate-limits/detect_anomalies_task"
CORRECTION = {"pipeline_id": "{pipeline_id}", "pipeline_execution_id": "{execution_id}", "metric_field": ["total_rows"]}
VERDICT = {"execution_id": "{execution_id}", "metric": "total_rows"}
SEEN = "{incident_id}.1"
DOCUMENT = {"version": 1, "calendars": {"office": CALENDAR}}
ASK = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/call",
    "params": {"name": "snooze", "arguments": {"incident": "{incident_id}", "hours": 2}},
}


class Step(NamedTuple):
    """A request; names in braces stand for ids of the scene."""

    method: str
    path: str
    json: Any = None


@dataclass(frozen=True)
class Case:
    """A request to a route, what comes before it, and what the entry says. ``confirms``: a form that asks again."""

    route: str
    action: str
    kind: str
    json: Any = None
    form: Mapping[str, Any] | None = None
    before: tuple[Step, ...] = ()
    confirms: bool = False

    @property
    def method(self) -> str:
        """The method of the route."""
        return self.route.partition(" ")[0]

    @property
    def path(self) -> str:
        """Its path, with the names of its parameters."""
        return self.route.partition(" ")[2]

    def __str__(self) -> str:
        return f"{self.route} {self.action}"


_PUT_CHANNEL = Step("PUT", "/alerting/channels/{name}", CHANNEL)
_PUT_ROUTE = Step("PUT", "/alerting/routes/{name}", ROUTE)
_PUT_CALENDAR = Step("PUT", "/alerting/calendars/{name}", CALENDAR)
_PUT_WINDOW = Step("PUT", "/alerting/windows/{name}", WINDOW)
_ADD_WINDOW = Step("POST", "/alerting/windows", {"name": "{name}", "match": MATCH, "until": "{soon}"})
_PUT_LIMIT = Step("PUT", LIMIT, {"limit": "5/s"})
_RUNS = Step("PATCH", "/anomaly_detection_rule", {"id": "{rule_id}", "normal_from": "2026-01-01T00:00:00Z"})

_UNFLAG = Step("POST", "/unflag_anomaly", CORRECTION)

CASES = (
    Case("POST /pipeline", "create", "pipeline", {"name": "new", "pipeline_type_name": "{type}"}),
    Case("POST /pipeline", "change", "pipeline", {"name": "orders", "pipeline_type_name": "{type}", "owner": "ann"}),
    Case("PATCH /pipeline", "change", "pipeline", {"id": "{pipeline_id}", "active": False}),
    Case("POST /pipeline_type", "create", "pipeline_type", {"name": "new"}),
    Case("POST /pipeline_type", "change", "pipeline_type", {"name": "{type}", "mute_freshness_check": True}),
    Case("PATCH /pipeline_type", "change", "pipeline_type", {"name": "{type}", "mute_timeliness_check": True}),
    Case("DELETE /pipeline/{pipeline_id}", "archive", "pipeline"),
    Case("DELETE /pipeline/{pipeline_id}?forget=true", "forget", "pipeline"),
    Case(
        "POST /pipeline/{pipeline_id}/restore",
        "restore",
        "pipeline",
        before=(Step("DELETE", "/pipeline/{pipeline_id}"),),
    ),
    Case(
        "POST /ping_url", "create", "pipeline", {"name": "nightly"}, before=(Step("POST", "/ping_url", {"name": "a"}),)
    ),
    Case("POST /pipeline/{pipeline_id}/ping_url", "renew_ping_url", "pipeline"),
    Case("POST /ping_key", "create", "ping_key", {"name": "cron"}),
    Case("DELETE /ping_key/{key_id}", "revoke", "ping_key", before=(Step("POST", "/ping_key", {"name": "cron"}),)),
    Case(
        "POST /address",
        "create",
        "address",
        {"name": "new", "address_type_name": "table", "address_type_group_name": "database"},
    ),
    Case(
        "POST /address",
        "change",
        "address",
        {"name": "raw", "address_type_name": "table", "address_type_group_name": "database", "primary_key": "id"},
    ),
    Case("PATCH /address", "change", "address", {"id": "{address_id}", "primary_key": "id"}),
    Case("POST /address_type", "create", "address_type", {"name": "new", "group_name": "database"}),
    Case("POST /address_type", "change", "address_type", {"name": "table", "group_name": "storage"}),
    Case("PATCH /address_type", "change", "address_type", {"name": "table", "group_name": "storage"}),
    Case("DELETE /address/{address_id}", "archive", "address"),
    Case("DELETE /address/{address_id}?forget=true", "forget", "address"),
    Case("POST /address/{address_id}/restore", "restore", "address", before=(Step("DELETE", "/address/{address_id}"),)),
    Case(
        "POST /anomaly_detection_rule",
        "create_rule",
        "pipeline",
        {"pipeline_id": "{pipeline_id}", "metric_field": "inserts"},
    ),
    Case(
        "POST /anomaly_detection_rule",
        "change_rule",
        "pipeline",
        {"pipeline_id": "{pipeline_id}", "metric_field": "total_rows", "z_threshold": 9},
    ),
    Case("PATCH /anomaly_detection_rule", "change_rule", "pipeline", {"id": "{rule_id}", "z_threshold": 9}),
    Case("POST /unflag_anomaly", "unflag", "pipeline", CORRECTION),
    Case("POST /reflag_anomaly", "reflag", "pipeline", CORRECTION, before=(_UNFLAG,)),
    Case("POST /accept_new_normal", "accept_new_normal", "pipeline", CORRECTION),
    Case("PATCH /incident/{incident_id}", "assign", "incident", {"version": 1, "assignee": "ann"}),
    Case("PATCH /incident/{incident_id}", "unacknowledge", "incident", {"version": 1, "state": "open"}),
    Case("PATCH /incident/{incident_id}", "resolve", "incident", {"version": 1, "state": "resolved", "force": True}),
    Case("PATCH /incident", "assign", "incident", {"ids": [{"id": "{incident_id}", "version": 1}], "assignee": "ann"}),
    Case("POST /incident/{incident_id}/comment", "comment", "incident", {"text": "I look at it"}),
    Case("POST /notification/{notification_id}/retry", "resend", "notification"),
    Case("PUT /alerting/channels/{name}", "create", "channel", CHANNEL),
    Case(
        "PUT /alerting/channels/{name}",
        "change",
        "channel",
        {"type": "discord", "url": {"env": "OTHER"}},
        before=(_PUT_CHANNEL,),
    ),
    Case("DELETE /alerting/channels/{name}", "remove", "channel", before=(_PUT_CHANNEL,)),
    Case("POST /alerting/channels/{default}/test", "test", "channel"),
    Case("PUT /alerting/routes/{name}", "create", "route", ROUTE),
    Case("PUT /alerting/routes/{name}", "change", "route", {**ROUTE, "repeat": "4h"}, before=(_PUT_ROUTE,)),
    Case("DELETE /alerting/routes/{name}", "remove", "route", before=(_PUT_ROUTE,)),
    Case("PUT /alerting/calendars/{name}", "create", "calendar", CALENDAR),
    Case("DELETE /alerting/calendars/{name}", "remove", "calendar", before=(_PUT_CALENDAR,)),
    Case("POST /alerting/windows", "create", "window", {"match": MATCH, "until": "{soon}"}),
    Case("POST /alerting/windows/{name}/end", "change", "window", before=(_ADD_WINDOW,)),
    Case("PUT /alerting/windows/{name}", "create", "window", WINDOW),
    Case("DELETE /alerting/windows/{name}", "remove", "window", before=(_PUT_WINDOW,)),
    Case("POST /alerting/apply", "create", "calendar", {"document": DOCUMENT, "origin": "watcher.yaml"}),
    Case("PUT /rate-limits/{task}", "override", "rate_limit", {"limit": "5/s"}),
    Case("DELETE /rate-limits/{task}", "reset", "rate_limit", before=(_PUT_LIMIT,)),
    Case("POST /tasks/retry-failed", "retry", "task"),
    Case("POST /tasks/{task_id}/retry", "retry", "task"),
    Case("POST /log_cleanup", "clean_up", "history", {"retention_days": 90}),
    Case("POST /mcp", "snooze", "incident", ASK),
    # What the pages send.
    Case("POST /ui/archive/pipeline/{pipeline_id}", "archive", "pipeline", form={}),
    Case(
        "POST /ui/archive/pipeline/{pipeline_id}/restore",
        "restore",
        "pipeline",
        form={},
        before=(Step("DELETE", "/pipeline/{pipeline_id}"),),
    ),
    Case("POST /ui/archive/address/{address_id}", "archive", "address", form={}),
    Case(
        "POST /ui/archive/address/{address_id}/restore",
        "restore",
        "address",
        form={},
        before=(Step("DELETE", "/address/{address_id}"),),
    ),
    Case("POST /ui/tasks/retry-failed", "retry", "task", form={}),
    Case("POST /ui/tasks/{task_id}/retry", "retry", "task", form={}),
    Case("POST /ui/tasks/limits/set", "override", "rate_limit", form={"task": "detect_anomalies_task", "limit": "5/s"}),
    Case(
        "POST /ui/tasks/limits/reset",
        "reset",
        "rate_limit",
        form={"task": "detect_anomalies_task"},
        before=(_PUT_LIMIT,),
    ),
    Case("POST /ui/pipelines/{pipeline_id}/unflag", "unflag", "pipeline", form=VERDICT),
    Case(
        "POST /ui/pipelines/{pipeline_id}/reflag",
        "reflag",
        "pipeline",
        form=VERDICT,
        before=(_UNFLAG,),
    ),
    Case("POST /ui/pipelines/{pipeline_id}/accept", "accept_new_normal", "pipeline", form=VERDICT),
    Case("POST /ui/pipelines/{pipeline_id}/ping-url", "renew_ping_url", "pipeline", form={}),
    Case("POST /ui/pipelines/{pipeline_id}/rules", "create_rule", "pipeline", form={"metric_field": "inserts"}),
    Case("POST /ui/pipelines/{pipeline_id}/rules/{rule_id}", "change_rule", "pipeline", form={"z_threshold": "9"}),
    Case(
        "POST /ui/pipelines/{pipeline_id}/rules/{rule_id}/forget", "change_rule", "pipeline", form={}, before=(_RUNS,)
    ),
    Case(
        "POST /ui/pipelines/{pipeline_id}/edit",
        "change",
        "pipeline",
        form={"freshness_number": "36", "freshness_datepart": "hour"},
        confirms=True,
    ),
    Case(
        "POST /ui/pipelines/bulk",
        "change",
        "pipeline",
        form={"action": "pause", "selected": "{pipeline_id}"},
        confirms=True,
    ),
    Case("POST /ui/incidents/bulk", "unacknowledge", "incident", form={"choice": "unacknowledge", "selected": SEEN}),
    Case(
        "POST /ui/incidents/{incident_id}/change",
        "unacknowledge",
        "incident",
        form={"choice": "unacknowledge", "version": "1"},
    ),
    Case("POST /ui/incidents/{incident_id}/comment", "comment", "incident", form={"text": "I look at it"}),
    Case("POST /ui/incidents/{incident_id}/notifications/{notification_id}/send", "resend", "notification", form={}),
    Case("POST /ui/anomalies/{event_id}/accept", "accept_new_normal", "pipeline", form={}),
    Case(
        "POST /ui/anomalies/{event_id}/take-back",
        "change_rule",
        "pipeline",
        form={},
        before=(Step("POST", "/accept_new_normal", CORRECTION),),
    ),
    Case(
        "POST /ui/anomalies/reflag",
        "reflag",
        "pipeline",
        form={"rule_id": "{rule_id}", "metric": "total_rows", "cleared_at": "{unflagged_at}"},
        before=(_UNFLAG,),
    ),
    Case("POST /ui/anomalies/{event_id}/unflag", "unflag", "pipeline", form={}),
    Case("POST /ui/alerts/{alert_id}/send", "resend", "notification", form={}),
    Case("POST /ui/channels/test", "test", "channel", form={"name": "default"}),
    Case("POST /ui/channels/resend", "resend", "channel", form={"name": "default"}),
    Case("POST /ui/channels/remove", "remove", "channel", form={"name": "{name}"}, before=(_PUT_CHANNEL,)),
    Case("POST /ui/channels/edit", "create", "channel", form={"type": "discord", "name": "ops", "url": "env:X"}),
    Case("POST /ui/routes/edit", "create", "route", form={"name": "new", "text": "to: default", "is_new": "true"}),
    Case("POST /ui/routes/remove", "remove", "route", form={"name": "{name}"}, before=(_PUT_ROUTE,)),
    Case(
        "POST /ui/routes/calendar",
        "create",
        "calendar",
        form={"name": "new", "text": "zone: UTC\nweekly: mon-fri 08:00-18:00", "is_new": "true"},
    ),
    Case("POST /ui/routes/calendar/remove", "remove", "calendar", form={"name": "{name}"}, before=(_PUT_CALENDAR,)),
    Case("POST /ui/windows", "create", "window", form={"pipeline": "orders", "minutes": "60"}),
    Case("POST /ui/windows/end", "change", "window", form={"name": "{name}"}, before=(_ADD_WINDOW,)),
    Case(
        "POST /ui/windows/edit",
        "create",
        "window",
        form={"name": "new", "text": "match: {pipeline: orders}\ncron: 0 22 * * SAT\nduration: 4h", "is_new": "true"},
    ),
    Case("POST /ui/account/tokens", "create", "token", form={"name": "new", "scope": "read"}),
    Case("POST /ui/account/tokens/rotate", "rotate", "token", form={"name": "other"}),
    Case("POST /ui/account/tokens/revoke", "revoke", "token", form={"name": "other"}),
    Case("POST /ui/account/people/block", "block", "person", form={"person_id": "1"}),
    Case("POST /ui/account/people/sessions/end", "end", "session", form={"session_id": "1"}),
    Case("POST /openlineage/replay", "replay", "event", {"state": "failed"}),
    Case("POST /ui/sources/replay", "replay", "event", form={}),
    Case("POST /ui/sources/token", "create", "token", form={"name": "airflow"}),
    Case("POST /ui/windows/remove", "remove", "window", form={"name": "{name}"}, before=(_PUT_WINDOW,)),
)

# What tells of runs, or has something computed that is computed anyway, is no change of the configuration.
REPORTS = {
    "POST /start_pipeline_execution": "a run reports that it began",
    "POST /end_pipeline_execution": "a run reports how it ended",
    "POST /address_lineage": "a run reports what it reads and writes",
    "POST /dbt/artifacts": "dbt reports its runs, models and tests",
    "POST /api/v1/lineage": "a tool reports what a run does",
    "POST /api/v1/lineage/batch": "a tool reports what its runs do",
    "POST /": "a tool reports what a run does; anything else is 405",
    **{
        f"{method} {path}": "405"
        for path in ("/api/v1/lineage", "/api/v1/lineage/batch")
        for method in ("PUT", "PATCH", "DELETE", "OPTIONS")
    },
    "POST /ui/addresses/{address_id}/join": "it leaves the entry of `openlineage alias`",
    "POST /anomaly_detection_rule/preview": "it writes nothing",
    "POST /lineage-graph/refresh": "the closure is computed anew from the same edges",
    "POST /freshness": "the check that runs by its schedule anyway",
    "POST /timeliness": "the check that runs by its schedule anyway",
    "POST /schedule_check": "the check that runs by its schedule anyway",
    "POST /celery/monitor-queue": "the check that runs by its schedule anyway",
    "POST /reporting/refresh": "daily figures are summed anew from the same runs",
    "POST /reporting/sum-days": "daily figures are summed anew from the same runs",
    "POST /login": "a login changes nothing that others see; wrong ones are counted",
    "POST /logout": "the end of one's own login",
    "POST /ui/account/sessions/end": "it leaves the entry of /ui/account/people/sessions/end",
}


def writing_routes(app: FastAPI) -> Iterator[str]:
    """Every route of an application that takes another method than GET, as "POST /path"."""
    for route in _walk(app):
        for method in (route.methods or set()) - READING:
            yield f"{method} {route.path}"


def _walk(router: Any) -> Iterator[Any]:
    for route in router.routes:
        if isinstance(route, Route) or hasattr(route, "dependant"):
            yield route
        elif hasattr(route, "original_router"):
            yield from _walk(route.original_router)


def plain(route: str) -> str:
    """A route without the names of its parameters, which cases call as the scene does."""
    return re.sub(r"\{[^}]*\}", "{}", route.partition("?")[0])
