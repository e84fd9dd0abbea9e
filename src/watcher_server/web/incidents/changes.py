"""Changing incidents from their pages: what a form says, as the API takes it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, Field, ValidationError
from sqlalchemy import Connection

from watcher_server.incidents.changes import change_incident, change_incidents, comment_on
from watcher_server.incidents.resolving import find_holding
from watcher_server.incidents.schemas import CommentPost, IncidentChanges, IncidentPatch, IncidentVersion
from watcher_server.kit.errors import InvalidFieldError
from watcher_server.kit.fields import INT_MAX, Id
from watcher_server.web.incidents.query import Done
from watcher_server.web.paging import PAGE_SIZE

Body = TypeVar("Body", bound=BaseModel)


class Choice(StrEnum):
    """What a button does. An acknowledgement without a time lasts until the incident is resolved."""

    ACKNOWLEDGE = "acknowledge"
    ACKNOWLEDGE_1H = "acknowledge-1h"
    ACKNOWLEDGE_4H = "acknowledge-4h"
    ACKNOWLEDGE_TOMORROW = "acknowledge-tomorrow"
    UNACKNOWLEDGE = "unacknowledge"
    SNOOZE_1H = "snooze-1h"
    SNOOZE_4H = "snooze-4h"
    SNOOZE_TOMORROW = "snooze-tomorrow"
    SNOOZE_NEXT_RUN = "snooze-next_run"
    SNOOZE_WORSE = "snooze-worse"
    SNOOZE_TIME = "snooze-time"
    UNSNOOZE = "unsnooze"
    ASSIGN = "assign"
    RESOLVE = "resolve"

    @property
    def done(self) -> Done:
        """What the page says of it afterwards."""
        return _DONE[self.partition("-")[0]]


_DONE = {
    "acknowledge": Done.ACKNOWLEDGED,
    "unacknowledge": Done.UNACKNOWLEDGED,
    "snooze": Done.SNOOZED,
    "unsnooze": Done.UNSNOOZED,
    "assign": Done.ASSIGNED,
    "resolve": Done.RESOLVED,
}


class ChangeForm(BaseModel):
    """The form as it is posted.

    ``at`` is a moment as a field of a form has it, without a zone; that is ``zone``, the viewer's where scripts run.
    """

    choice: Choice
    zone: str = "UTC"
    at: str = ""
    assignee: str = ""
    force: bool = False

    def changes(self) -> IncidentChanges:
        """What is to change. Raises InvalidFieldError: a field is wrong."""
        return read_form(IncidentChanges, self.fields())

    def fields(self) -> Mapping[str, Any]:
        """What is to change, as the API takes it; raises as :meth:`changes` does."""
        what, _, until = self.choice.partition("-")
        if what == "acknowledge":
            return {"state": "acknowledged", "acknowledged_until": self._moment(until)}
        if what == "snooze":
            moment = self._moment(until)
            return {"snooze": until} if moment is None else {"snooze": "time", "snoozed_until": moment}
        others: dict[str, Mapping[str, Any]] = {
            "unacknowledge": {"state": "open"},
            "unsnooze": {"snooze": None},
            "assign": {"assignee": self.assignee.strip() or None},
            "resolve": {"state": "resolved", "force": self.force},
        }
        return others[what]

    def _moment(self, until: str) -> datetime | None:
        """When it ends; None where something else than the time ends it."""
        now = datetime.now(UTC)
        match until:
            case "1h":
                return now + timedelta(hours=1)
            case "4h":
                return now + timedelta(hours=4)
            case "tomorrow":
                tomorrow = now.astimezone(self._zone()) + timedelta(days=1)
                return tomorrow.replace(hour=9, minute=0, second=0, microsecond=0)
            case "time":
                try:
                    return datetime.fromisoformat(self.at).replace(tzinfo=self._zone())
                except ValueError:
                    raise InvalidFieldError("at", "Choose the day and the time until which it is snoozed") from None
        return None

    def _zone(self) -> ZoneInfo:
        """The viewer's zone; UTC for one that this machine does not know."""
        try:
            return ZoneInfo(self.zone)
        except (ValueError, OSError, ZoneInfoNotFoundError):
            return ZoneInfo("UTC")


class SingleForm(ChangeForm):
    """The form of one incident, at the ``version`` that the viewer saw; ``single`` is sent by its own page."""

    version: Annotated[int, Field(ge=1, le=INT_MAX)]
    single: bool = False


class BulkForm(ChangeForm):
    """The form of the list: ``selected`` names each incident with the version that the viewer saw, as 12.3."""

    selected: Annotated[
        list[Annotated[str, Field(pattern=r"^[0-9]{1,19}\.[0-9]{1,10}$")]], Field(max_length=PAGE_SIZE)
    ] = []

    def seen(self) -> list[IncidentVersion]:
        """The incidents, each once; raises as :meth:`changes` does."""
        versions = dict(each.split(".") for each in self.selected)
        return [read_form(IncidentVersion, {"id": id_, "version": version}) for id_, version in versions.items()]


class CommentForm(BaseModel):
    """What somebody writes of an incident."""

    text: str = ""


@dataclass(frozen=True, slots=True)
class Changed:
    """How many were changed, which somebody else had changed before, and with which the change does not go."""

    number: int
    missed: Sequence[Id]
    unfit: Sequence[Id]


def change_one(connection: Connection, incident_id: int, form: SingleForm, actor: str) -> None:
    """Make the change.

    Raises:
        NotFoundError: there is no such incident.
        ConflictError: somebody else was faster.
        InvalidFieldError: a field is wrong.
    """
    body = read_form(IncidentPatch, {**form.fields(), "version": form.version})
    change_incident(connection, incident_id, body, actor)


def still_holds(connection: Connection, incident_id: int, form: SingleForm) -> bool:
    """Whether the form is to resolve what still holds, and does not say that this is meant."""
    if form.choice is not Choice.RESOLVE or form.force:
        return False
    return incident_id in find_holding(connection, [incident_id])


def change_many(connection: Connection, form: BulkForm, actor: str) -> Changed:
    """Make the change to each that was ticked. Raises InvalidFieldError: a field is wrong."""
    seen = form.seen()
    outcomes = change_incidents(connection, seen, form.changes(), actor) if seen else []
    refused = [outcome for outcome in outcomes if outcome.incident is None]
    missed = [outcome.id for outcome in refused if not isinstance(outcome.error, InvalidFieldError)]
    unfit = [outcome.id for outcome in refused if isinstance(outcome.error, InvalidFieldError)]
    return Changed(len(outcomes) - len(refused), missed, unfit)


def comment(connection: Connection, incident_id: int, form: CommentForm, actor: str) -> None:
    """Add to the timeline what was written; raises as :func:`change_one` does."""
    comment_on(connection, incident_id, read_form(CommentPost, {"text": form.text}).text, actor)


def read_form(kind: type[Body], fields: Mapping[str, Any]) -> Body:
    """What the API takes. Raises InvalidFieldError: a field is wrong; the message says why."""
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        wrong = error.errors()[0]
        place = str(wrong["loc"][-1]) if wrong["loc"] else ""
        labels = {"snoozed_until": "The time", "assignee": "The name", "text": "The comment"}
        # The end of a sentence about the field.
        said = wrong["msg"].removeprefix("Value error, ")
        if not said.startswith("must"):
            said = f"is not right: {said[:1].lower()}{said[1:]}"
        raise InvalidFieldError(place, f"{labels.get(place, 'The form')} {said}") from None
