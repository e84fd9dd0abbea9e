"""The HTTP shapes of anomaly detection rules and results."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import MISSING, BeforeValidator, Field

from watcher_server.anomalies.rules import Metric
from watcher_server.kit.fields import Id, RequestBody, ResponseBody, ShortName, normalize_text

MetricField = Annotated[Metric, BeforeValidator(normalize_text, json_schema_input_type=Metric)]
ZThreshold = Annotated[float, Field(ge=1, le=10)]
LookbackDays = Annotated[int, Field(ge=1, le=365)]
MinimumExecutions = Annotated[int, Field(ge=5, le=1000)]


class RulePost(RequestBody):
    """The rule for one metric of one pipeline; the defaults are those of a new rule."""

    pipeline_id: Id
    metric_field: MetricField
    z_threshold: ZThreshold = 3.0
    lookback_days: LookbackDays = 30
    minimum_executions: MinimumExecutions = 30
    active: bool = True


class RulePatch(RequestBody):
    """Changes to one rule; only what is present changes, and nothing can be null."""

    id: Id
    pipeline_id: Id | MISSING = MISSING
    metric_field: MetricField | MISSING = MISSING
    z_threshold: ZThreshold | MISSING = MISSING
    lookback_days: LookbackDays | MISSING = MISSING
    minimum_executions: MinimumExecutions | MISSING = MISSING
    active: bool | MISSING = MISSING


class RuleResponse(ResponseBody):
    """A rule, whole."""

    id: int
    pipeline_id: int
    metric_field: str
    z_threshold: float
    lookback_days: int
    minimum_executions: int
    active: bool
    created_at: datetime
    updated_at: datetime | None


class Unflag(RequestBody):
    """Flags to clear: metrics of one execution that were no anomaly after all."""

    pipeline_id: Id
    pipeline_execution_id: Id
    metric_field: Annotated[list[ShortName], Field(min_length=1)]


class ResultResponse(ResponseBody):
    """One anomaly. ``historical_std`` is the one that was judged by: never less than its floor."""

    id: int
    rule_id: int
    pipeline_execution_id: int
    metric_field: str
    violation_value: float
    z_score: float
    historical_mean: float
    historical_std: float
    z_threshold: float
    lower_bound: float
    upper_bound: float
    execution_count: int
    context: dict[str, Any]
    detected_at: datetime
