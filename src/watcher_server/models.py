"""Every model, imported once, so that the metadata is whole for migrations and tests."""

from watcher_server.addresses.models import Address, AddressType
from watcher_server.alerts.models import Alert, AlertingObject, AlertSubject, Channel, ChannelView, Notification
from watcher_server.anomalies.models import AnomalyDetectionResult, AnomalyDetectionRule, AnomalyEvent, UnflaggedAnomaly
from watcher_server.audit.models import AuditEntry
from watcher_server.auth.models import ApiToken, FailedLoginCount, LoginSession, Person
from watcher_server.database.base import Base
from watcher_server.dbt.models import DbtArtifact
from watcher_server.executions.models import PipelineExecution, PipelineExecutionClosure
from watcher_server.freshness.models import FreshnessPipelineLog
from watcher_server.http.models import IdempotencyKey, IgnoredFieldCount
from watcher_server.incidents.models import HeartbeatCall, Incident, IncidentEvent, IncidentTally
from watcher_server.lineage.models import (
    AddressLineage,
    AddressLineageClosure,
    AddressLineagePending,
    ArchivedAddressLineage,
)
from watcher_server.missed_runs.models import MissedRunLog
from watcher_server.openlineage.models import (
    AddressSchemaChange,
    OpenLineageDataset,
    OpenLineageDropped,
    OpenLineageEvent,
    OpenLineageFailedEvent,
    OpenLineageJob,
    OpenLineageRun,
    OpenLineageSource,
)
from watcher_server.pings.models import PingKey, PingPace, PingRun
from watcher_server.pipelines.models import Pipeline, PipelineType
from watcher_server.reporting.models import (
    DailyPipelineMetric,
    DailyPipelineMetricChange,
    DailyPipelineMetricProgress,
)
from watcher_server.tasking.models import (
    OutboxMessage,
    QueueAlertState,
    QueueDepthSample,
    RateLimitOverride,
    TaskRun,
    Worker,
)
from watcher_server.timeliness.models import TimelinessExecutionLog

__all__ = [
    "Address",
    "AddressLineage",
    "AddressLineageClosure",
    "AddressLineagePending",
    "AddressSchemaChange",
    "AddressType",
    "Alert",
    "AlertSubject",
    "AlertingObject",
    "AnomalyDetectionResult",
    "AnomalyDetectionRule",
    "AnomalyEvent",
    "ApiToken",
    "ArchivedAddressLineage",
    "AuditEntry",
    "Base",
    "Channel",
    "ChannelView",
    "DailyPipelineMetric",
    "DailyPipelineMetricChange",
    "DailyPipelineMetricProgress",
    "DbtArtifact",
    "FailedLoginCount",
    "FreshnessPipelineLog",
    "HeartbeatCall",
    "IdempotencyKey",
    "IgnoredFieldCount",
    "Incident",
    "IncidentEvent",
    "IncidentTally",
    "LoginSession",
    "MissedRunLog",
    "Notification",
    "OpenLineageDataset",
    "OpenLineageDropped",
    "OpenLineageEvent",
    "OpenLineageFailedEvent",
    "OpenLineageJob",
    "OpenLineageRun",
    "OpenLineageSource",
    "OutboxMessage",
    "Person",
    "PingKey",
    "PingPace",
    "PingRun",
    "Pipeline",
    "PipelineExecution",
    "PipelineExecutionClosure",
    "PipelineType",
    "QueueAlertState",
    "QueueDepthSample",
    "RateLimitOverride",
    "TaskRun",
    "TimelinessExecutionLog",
    "UnflaggedAnomaly",
    "Worker",
]
