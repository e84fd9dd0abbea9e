"""Every model, imported once, so that the metadata is whole for migrations and tests."""

from watcher_server.addresses.models import Address, AddressType
from watcher_server.alerts.models import Alert
from watcher_server.anomalies.models import AnomalyDetectionResult, AnomalyDetectionRule, AnomalyEvent
from watcher_server.auth.models import ApiToken
from watcher_server.database.base import Base
from watcher_server.executions.models import PipelineExecution, PipelineExecutionClosure
from watcher_server.freshness.models import FreshnessPipelineLog
from watcher_server.lineage.models import AddressLineage, AddressLineageClosure, AddressLineagePending
from watcher_server.pipelines.models import Pipeline, PipelineType
from watcher_server.queue_monitor.models import QueueAlertState, QueueDepthSample
from watcher_server.queueing.models import OutboxMessage
from watcher_server.rate_limits.models import RateLimitOverride
from watcher_server.reporting.models import (
    DailyPipelineMetric,
    DailyPipelineMetricChange,
    DailyPipelineMetricProgress,
)
from watcher_server.schedules.models import MissedRunLog
from watcher_server.task_history.models import TaskRun
from watcher_server.timeliness.models import TimelinessExecutionLog
from watcher_server.workers.models import Worker

__all__ = [
    "Address",
    "AddressLineage",
    "AddressLineageClosure",
    "AddressLineagePending",
    "AddressType",
    "Alert",
    "AnomalyDetectionResult",
    "AnomalyDetectionRule",
    "AnomalyEvent",
    "ApiToken",
    "Base",
    "DailyPipelineMetric",
    "DailyPipelineMetricChange",
    "DailyPipelineMetricProgress",
    "FreshnessPipelineLog",
    "MissedRunLog",
    "OutboxMessage",
    "Pipeline",
    "PipelineExecution",
    "PipelineExecutionClosure",
    "PipelineType",
    "QueueAlertState",
    "QueueDepthSample",
    "RateLimitOverride",
    "TaskRun",
    "TimelinessExecutionLog",
    "Worker",
]
