"""The HTTP shapes of anomaly detection rules and results."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import MISSING, AfterValidator, BeforeValidator, FailFast, Field, StringConstraints

from watcher_server.anomalies.holidays import MOST_ENTRIES, check_entry
from watcher_server.anomalies.rules import Direction, Method, Metric, Seasonality
from watcher_server.kit.fields import Id, RequestBody, ResponseBody, ShortName, UtcDatetime, normalize_text

MetricField = Annotated[Metric, BeforeValidator(normalize_text, json_schema_input_type=Metric)]
MethodField = Annotated[Method, BeforeValidator(normalize_text, json_schema_input_type=Method)]
SeasonalityField = Annotated[Seasonality, BeforeValidator(normalize_text, json_schema_input_type=Seasonality)]
DirectionField = Annotated[Direction, BeforeValidator(normalize_text, json_schema_input_type=Direction)]
ZThreshold = Annotated[float, Field(ge=1, le=10)]
LookbackDays = Annotated[int, Field(ge=1, le=365)]
MinimumExecutions = Annotated[int, Field(ge=5, le=1000)]
MinimumStdPercent = Annotated[float, Field(ge=0, le=100)]
# Above zero, because a z-score divides by it.
MinimumStd = Annotated[float, Field(ge=1e-9, le=1e18)]
# Once in four years, and ten times a day.
AlarmsPerMonth = Annotated[float, Field(ge=0.02, le=300)]
Holiday = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=2, max_length=10), AfterValidator(check_entry)
]
Holidays = Annotated[
    list[Holiday],
    Field(max_length=MOST_ENTRIES),
    BeforeValidator(lambda given: [given] if isinstance(given, str) else given, json_schema_input_type=list[str] | str),
]
NewNormalAfter = Annotated[int, Field(ge=2, le=1000)]


class RuleFields(RequestBody):
    """What a rule for one metric is made of; the defaults are those of a new rule.

    ``alarms_per_month`` takes the place of ``z_threshold``: how often it may alarm. ``holidays`` are dates, and
    countries such as DE or DE-BY: a weekday of their own.
    """

    metric_field: MetricField
    z_threshold: ZThreshold = 3.0
    alarms_per_month: AlarmsPerMonth | None = None
    lookback_days: LookbackDays = 30
    minimum_executions: MinimumExecutions = 30
    method: MethodField = Method.ZSCORE
    seasonality: SeasonalityField = Seasonality.HOUR
    direction: DirectionField = Direction.BOTH
    minimum_std_percent: MinimumStdPercent = 1.0
    minimum_std: MinimumStd = 1.0
    new_normal_after: NewNormalAfter | None = 10
    holidays: Holidays = Field(default_factory=list)
    active: bool = True


class RulePost(RuleFields):
    """The rule for one metric of one pipeline."""

    pipeline_id: Id


class RulePreview(RulePost):
    """A rule to try on the last ``days``; ``executions`` of them are returned for each method, the latest."""

    days: Annotated[int, Field(ge=1, le=365)] = 90
    executions: Annotated[int, Field(ge=0, le=10_000)] = 200


class RulePatch(RequestBody):
    """Changes to one rule; only what is present changes.

    ``alarms_per_month`` null: ``z_threshold`` holds. ``new_normal_after`` null: flagged runs never become the new
    normal. ``normal_from`` null: older runs count again.
    """

    id: Id
    pipeline_id: Id | MISSING = MISSING
    metric_field: MetricField | MISSING = MISSING
    z_threshold: ZThreshold | MISSING = MISSING
    alarms_per_month: AlarmsPerMonth | MISSING | None = MISSING
    lookback_days: LookbackDays | MISSING = MISSING
    minimum_executions: MinimumExecutions | MISSING = MISSING
    method: MethodField | MISSING = MISSING
    seasonality: SeasonalityField | MISSING = MISSING
    direction: DirectionField | MISSING = MISSING
    minimum_std_percent: MinimumStdPercent | MISSING = MISSING
    minimum_std: MinimumStd | MISSING = MISSING
    new_normal_after: NewNormalAfter | MISSING | None = MISSING
    normal_from: UtcDatetime | MISSING | None = MISSING
    holidays: Holidays | MISSING = MISSING
    active: bool | MISSING = MISSING


class RuleResponse(ResponseBody):
    """All fields of a rule.

    ``learning``: the latest check had too few values for a verdict; ``state`` says it in one word, or that the rule is
    inactive. ``known_executions`` is how many runs it could learn from now, counted up to ``minimum_executions``.
    ``alarm_threshold`` is what was found to keep to ``alarms_per_month``, null before the first check. Runs that ended
    before ``normal_from`` do not count; those between it and ``normal_until`` count even if they are flagged.
    """

    id: int
    pipeline_id: int
    metric_field: str
    z_threshold: float
    alarms_per_month: float | None
    alarm_threshold: float | None
    lookback_days: int
    minimum_executions: int
    known_executions: int
    state: Literal["learning", "ready", "inactive"]
    method: str
    seasonality: str
    direction: str
    minimum_std_percent: float
    minimum_std: float
    new_normal_after: int | None
    normal_from: datetime | None
    normal_until: datetime | None
    holidays: list[str]
    learning: bool
    active: bool
    created_at: datetime
    updated_at: datetime | None


class PreviewedExecution(ResponseBody):
    """A run of the past, and the range in which its value would have been expected: null while learning."""

    id: int
    start_date: datetime
    value: float
    lower_bound: float | None
    upper_bound: float | None
    flagged: bool


class PreviewedMethod(ResponseBody):
    """What a method would have said; ``threshold`` is the one in force at the end, in standard deviations."""

    method: str
    chosen: bool
    alerts: int
    flagged: int
    judged: int
    threshold: float
    sentence: str
    executions: list[PreviewedExecution]


class PreviewResponse(ResponseBody):
    """What a rule would have flagged in the last ``days``: by its method first, then by each other."""

    pipeline_id: int
    metric_field: str
    days: int
    runs: int
    sentence: str
    methods: list[PreviewedMethod]


class SuggestionResponse(ResponseBody):
    """A rule that suits a metric, and why."""

    rule: RuleFields
    why: str


class MetricsOfExecution(RequestBody):
    """Some metrics of one execution."""

    pipeline_id: Id
    pipeline_execution_id: Id
    metric_field: Annotated[list[ShortName], FailFast(), Field(min_length=1, max_length=100)]


class Unflag(MetricsOfExecution):
    """Flags to clear: metrics of one execution that were no anomaly."""


class Reflag(MetricsOfExecution):
    """Flags to put back: metrics of one execution that were unflagged."""


class AcceptNewNormal(MetricsOfExecution):
    """A level to accept: that of these metrics from this execution on."""


class ResultResponse(ResponseBody):
    """One anomaly. ``historical_std`` is the standard deviation after the floor was applied.

    ``execution_count`` is the number of executions in the baseline, ``event_id`` the event that it is part of.
    """

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
    event_id: int | None
    detected_at: datetime


class EventResponse(ResponseBody):
    """Consecutive anomalies of one rule on one side; ``accepted_at`` says when their level became the new normal."""

    id: int
    rule_id: int
    pipeline_id: int
    metric_field: str
    direction: str
    first_execution_id: int
    last_execution_id: int
    started_at: datetime
    last_at: datetime
    execution_count: int
    alerted: bool
    accepted_at: datetime | None


class ExpectedBand(ResponseBody):
    """The range in which a value is expected, in the metric's own unit; null while the rule has too few values.

    ``bucket`` says which runs the baseline has (hour, weekday, hour_of_week or none), ``execution_count`` how many.
    """

    mean: float | None
    std: float | None
    lower_bound: float | None
    upper_bound: float | None
    execution_count: int
    bucket: str


class JudgedExecution(ExpectedBand):
    """A successful execution, and the range in which its value was expected."""

    id: int
    start_date: datetime
    end_date: datetime
    value: float | None
    flagged: bool


class BaselineResponse(ExpectedBand):
    """The range for a run that starts and ends now, and those of the latest runs, newest first."""

    pipeline_id: int
    metric_field: str
    rule_id: int
    state: Literal["learning", "ready", "inactive"]
    at: datetime
    minimum_executions: int
    executions: list[JudgedExecution]
