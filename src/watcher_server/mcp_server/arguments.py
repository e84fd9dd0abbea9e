"""What each tool takes. The fields and their descriptions are the schema that an assistant reads."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from watcher_server.anomalies.rules import Metric
from watcher_server.anomalies.schemas import MetricField
from watcher_server.incidents.kinds import Kind
from watcher_server.incidents.reading import WantedState
from watcher_server.kit.fields import BIGINT_MAX, SearchText, check_no_nul
from watcher_server.lineage.schemas import Depth


def _as_text(value: object) -> object:
    """A number as text, so that an id may come as either."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _without_mark(value: object) -> object:
    """A number without the ``#`` that people write before it."""
    return value.strip().removeprefix("#") if isinstance(value, str) else value


_Text = Annotated[str, StringConstraints(strip_whitespace=True, max_length=150)]
Named = Annotated[
    str,
    BeforeValidator(_as_text, json_schema_input_type=str | int),
    StringConstraints(strip_whitespace=True, to_lower=True, min_length=1, max_length=150),
    BeforeValidator(lambda value: check_no_nul(value) if isinstance(value, str) else value),
]
Number = Annotated[int, BeforeValidator(_without_mark, json_schema_input_type=int), Field(ge=1, le=BIGINT_MAX)]
Hours = Annotated[float, Field(gt=0, le=24 * 365)]
PipelineName = Annotated[Named, Field(description="The name of a pipeline, a part of it, or its id.")]


class Arguments(BaseModel):
    """The arguments of a tool; one that it does not know is an error, because a wrong name must not be ignored."""

    model_config = ConfigDict(extra="forbid")


class ListIncidents(Arguments):
    """Which incidents."""

    state: Annotated[WantedState, Field(description="live are all that are not resolved.")] = WantedState.LIVE
    kind: Kind | None = None
    owner: Annotated[_Text | None, Field(description="The owner in force of the pipeline, in full.")] = None
    tag: Annotated[_Text | None, Field(description="A tag of the pipeline, in full.")] = None
    pipeline: PipelineName | None = None
    text: Annotated[
        SearchText | None, Field(description="A part of the pipeline's name, of the detail or of the assignee.")
    ] = None


class ExplainIncident(Arguments):
    """Which incident."""

    about: Annotated[
        Named,
        Field(
            description="The number of an incident, or what is wrong: the name of a pipeline or of an address (a table "
            "or file), or some words of it; `pipeline 12` and `address 7` name one by its id."
        ),
    ]


class GetPipeline(Arguments):
    """Which pipeline."""

    pipeline: PipelineName


class GetRun(Arguments):
    """Which run."""

    run: Annotated[Number, Field(description="The id of the run (execution).")]


class Around(Arguments):
    """From where to look, and how far."""

    of: Annotated[
        Named,
        Field(
            description="The name of an address (a table or file) or of a pipeline, or some words of it; `address 7` "
            "and `pipeline 12` name one by its id."
        ),
    ]
    hops: Annotated[Depth | None, Field(description="The greatest distance; all without it.")] = None


class Anomalies(Arguments):
    """Which anomalies."""

    pipeline: PipelineName | None = None
    metric: MetricField | None = None
    days: Annotated[int, Field(ge=1, le=366, description="How many days back.")] = 7


class Search(Arguments):
    """What to look for."""

    text: Annotated[Named, Field(description="Words of a name.")]


class Acknowledge(Arguments):
    """Which incident, and for how long."""

    incident: Annotated[Number, Field(description="The number of the incident.")]
    hours: Annotated[Hours | None, Field(description="After this it is open again; without it, it stays.")] = None


class Snooze(Arguments):
    """Which incident, and until when."""

    incident: Annotated[Number, Field(description="The number of the incident.")]
    hours: Annotated[Hours | None, Field(description="For so long.")] = None
    until: Annotated[
        Literal["next_run", "worse"] | None, Field(description="Or until the next run, or until it gets worse.")
    ] = None

    @model_validator(mode="after")
    def _check_one_end(self) -> Self:
        if (self.hours is None) == (self.until is None):
            raise ValueError("say either hours or until")
        return self


class Mute(Arguments):
    """Which check of which pipeline."""

    pipeline: PipelineName
    check: Literal["freshness", "timeliness"]
    muted: Annotated[bool, Field(description="False has it checked again.")] = True


class Unflag(Arguments):
    """Which flags of which run."""

    run: Annotated[Number, Field(description="The id of the run (execution).")]
    metrics: Annotated[
        list[MetricField], Field(min_length=1, max_length=len(Metric), description="Those that were no anomaly.")
    ]
