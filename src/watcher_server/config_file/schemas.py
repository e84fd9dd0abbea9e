"""The shape of the file, and of the answers about it."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import MISSING, AfterValidator, ConfigDict, FailFast, Field, StringConstraints

from watcher_server.alerts.config.channel_types import GivenChannel
from watcher_server.alerts.config.fields import ObjectName, Shape, Text
from watcher_server.alerts.config.schemas import DEFAULT, CalendarSpec, Route, Window
from watcher_server.alerts.config.secrets import has_plain_secrets
from watcher_server.alerts.config.store import check_default
from watcher_server.anomalies.schemas import RuleFields
from watcher_server.database.metadata import Metadata
from watcher_server.database.names import MOST_BYTES
from watcher_server.kit.errors import InvalidFieldError
from watcher_server.kit.fields import RequestBody, ResponseBody, UtcDatetime, bounded, check_within_a_year
from watcher_server.kit.names import fold
from watcher_server.kit.text import check_no_controls
from watcher_server.pipelines.schemas import Expectations, FailAfter, Importance, RunRules, WholeThresholds

MOST_OBJECTS = 500
MOST_PIPELINES = 5_000
_MUTES = ("mute_freshness_check", "mute_timeliness_check")


def _check_no_plain_secrets(channel: GivenChannel) -> GivenChannel:
    if has_plain_secrets(channel):
        raise ValueError("must not hold a secret itself: a file says where it is, as {env: NAME} or {file: PATH}")
    return channel


class RuleEntry(RuleFields):
    """The anomaly rule of a pipeline for one metric; what is left out stays."""

    model_config = ConfigDict(extra="forbid")


class PipelineEntry(WholeThresholds, Expectations, Importance, RunRules):
    """What holds of the pipelines with this name or glob; what is left out stays. Later entries win.

    A ``mute_until`` that is over ends the mutes of the entry, so that a file may stand after it.
    """

    model_config = ConfigDict(extra="forbid")

    pipeline: Annotated[
        str,
        StringConstraints(strip_whitespace=True, min_length=1, max_length=MOST_BYTES),
        # A plain text: of a glob no spelling is kept.
        AfterValidator(lambda glob: str(fold(glob))),
        AfterValidator(check_no_controls),
        bounded(MOST_BYTES),
    ]
    fail_after: FailAfter | MISSING = MISSING
    mute_freshness_check: bool | MISSING = MISSING
    mute_timeliness_check: bool | MISSING = MISSING
    mute_until: Annotated[UtcDatetime, AfterValidator(check_within_a_year)] | None = None
    load_lineage: bool | MISSING = MISSING
    active: bool | MISSING = MISSING
    pipeline_metadata: Metadata | None = None
    rules: Annotated[list[RuleEntry], FailFast(), Field(max_length=20)] = Field(default_factory=list)

    def fields(self) -> dict[str, Any]:
        """The columns of the pipeline that it says."""
        carried = self.carried()
        if self.mute_until is not None and self.mute_until <= datetime.now(UTC):
            carried |= {name: False for name in _MUTES if name in carried} | {"mute_until": None}
        return {name: value for name, value in carried.items() if name not in {"pipeline", "rules"}}

    def spec(self) -> dict[str, Any]:
        """What it says, as it is stored."""
        return self.model_dump(mode="json", exclude_unset=True, exclude={"pipeline"})


FiledChannel = Annotated[GivenChannel, AfterValidator(_check_no_plain_secrets)]


class Document(Shape):
    """The file: channels and calendars by their names, routes in their order, windows, and pipelines."""

    version: Literal[1]
    channels: dict[ObjectName, FiledChannel] = Field(default_factory=dict, max_length=MOST_OBJECTS)
    calendars: dict[ObjectName, CalendarSpec] = Field(default_factory=dict, max_length=MOST_OBJECTS)
    routes: Annotated[list[Route], FailFast()] = Field(default_factory=list, max_length=MOST_OBJECTS)
    windows: Annotated[list[Window], FailFast()] = Field(default_factory=list, max_length=MOST_OBJECTS)
    pipelines: Annotated[list[PipelineEntry], FailFast()] = Field(default_factory=list, max_length=MOST_PIPELINES)


class Apply(RequestBody):
    """A file to apply. ``origin`` is its name: what comes from it is changed by it alone.

    ``dry_run`` says what would change and changes nothing. ``prune`` removes what came from the file earlier and is no
    longer in it.
    """

    document: Document
    origin: Text
    dry_run: bool = False
    prune: bool = False


class Change(ResponseBody):
    """One thing that changes. ``detail`` says what of it, where that is not all.

    ``left``: it came from the file and is no longer in it; `prune` removes it. ``unmatched``: no pipeline has the name.
    """

    action: Literal["added", "changed", "removed", "left", "unmatched"]
    kind: Literal["channel", "calendar", "route", "window", "pipeline"]
    name: str
    detail: str | None = None


class Plan(ResponseBody):
    """What an application changes, and how many objects and pipelines were so already.

    ``taken_over`` of these had been made by the API or the pages; they come from the file from now on.
    """

    dry_run: bool
    changes: list[Change]
    unchanged: int
    taken_over: int


def check_document(document: Document) -> None:
    """Raise InvalidFieldError, with the path of the part, where parts of the file contradict each other."""
    for section, key, names in (
        ("routes", "name", [route.name for route in document.routes]),
        ("windows", "name", [window.name for window in document.windows]),
        ("pipelines", "pipeline", [entry.pipeline for entry in document.pipelines]),
    ):
        for place, name in enumerate(names):
            if name in names[:place]:
                raise InvalidFieldError(key, f"is there twice: {name!r}", ("document", section, place))
    for place, route in enumerate(document.routes):
        if route.name == DEFAULT:
            path = ("document", "routes", place)
            check_default(route, path)
            if place + 1 < len(document.routes):
                raise InvalidFieldError("name", "must stand last: the route 'default' takes what no other did", path)
