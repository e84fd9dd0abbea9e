"""Changing who is told from the pages: what a form says, as the API takes it."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.alerts.config import service
from watcher_server.alerts.config.fields import ObjectName, Shape
from watcher_server.alerts.config.schemas import CalendarSpec, RouteSpec, WindowSpec
from watcher_server.alerts.config.store import ObjectKind
from watcher_server.config_file.text import Parsed, YamlError, explain_mistake, read_yaml
from watcher_server.kit.errors import InvalidFieldError

Spec = TypeVar("Spec", bound=Shape)
_names: TypeAdapter[str] = TypeAdapter(ObjectName)

EXAMPLES: Mapping[ObjectKind, str] = {
    ObjectKind.ROUTE: """\
match:
  owner: [finance]
  kind: [failing, stale, missed]
  level: ">=WARNING"
to: [default]
repeat: 4h
""",
    ObjectKind.CALENDAR: """\
zone: Europe/Berlin
weekly: [mon-fri 08:00-18:00]
except: [2026-12-25]
""",
    ObjectKind.WINDOW: """\
cron: 0 22 * * SAT
duration: 4h
zone: Europe/Berlin
match:
  type: [dbt]
""",
}


class FormError(Exception):
    """What was typed is wrong; the message says what in one sentence."""


class TextForm(BaseModel):
    """An object as text: its name, what it says, and of a route the one before which it is asked."""

    name: str = ""
    text: str = ""
    before: str = ""
    is_new: bool = False


class NameForm(BaseModel):
    """The name of what a button is about."""

    name: str = ""


class QuietForm(BaseModel):
    """What is to be quiet from now on: globs, names and kinds, separated by commas, for some minutes (0 has no end)."""

    pipeline: str = ""
    owner: str = ""
    tag: str = ""
    type: str = ""
    kind: str = ""
    minutes: str = "60"
    mode: str = "hold"
    note: str = ""

    def window(self) -> WindowSpec:
        """The window. Raises FormError: a field is wrong."""
        match = {
            name: [part.strip() for part in getattr(self, name).split(",") if part.strip()]
            for name in ("pipeline", "owner", "tag", "type", "kind")
        }
        spec: dict[str, Any] = {"match": {name: values for name, values in match.items() if values}, "mode": self.mode}
        if not self.minutes.isdecimal() or len(self.minutes) > 6:  # noqa: PLR2004 - the digits of a year of minutes
            raise FormError("Choose how long it is quiet")
        if int(self.minutes):
            spec["until"] = datetime.now(UTC) + timedelta(minutes=int(self.minutes))
        if self.note.strip():
            spec["note"] = self.note
        return _validate(WindowSpec, Parsed({}, {(): (1, 1)}), spec, places=False)


async def save(session: AsyncSession, kind: ObjectKind, form: TextForm) -> None:
    """Make or change an object of this kind.

    Raises:
        FormError: something in it is wrong.
        ConflictError: it comes from a file.
    """
    parsed = _parse(form.text)
    if kind is ObjectKind.CALENDAR:
        await service.put_object(session, kind, read_name(form.name), _validate(CalendarSpec, parsed, parsed.value))
    elif kind is ObjectKind.WINDOW:
        await service.put_object(session, kind, read_name(form.name), _validate(WindowSpec, parsed, parsed.value))
    else:
        route = _validate(RouteSpec, parsed, parsed.value)
        try:
            await service.put_route(session, read_name(form.name), route, form.before or None)
        except InvalidFieldError as error:
            raise FormError(_placed(parsed, (*error.path, error.field), str(error), "value_error")) from None


def read_name(typed: str) -> str:
    """The name that was typed. Raises FormError: nothing can have that name."""
    try:
        return _names.validate_python(typed)
    except ValidationError:
        raise FormError("A name has 1 to 50 letters, digits, spaces, dots, dashes or underscores") from None


def _parse(text: str) -> Parsed:
    try:
        parsed = read_yaml(text.replace("\r\n", "\n"))
    except YamlError as error:
        raise FormError(_at(error.place, str(error))) from None
    if not isinstance(parsed.value, dict):
        raise FormError(_at((1, 1), "it must say names and values, such as the example"))
    return parsed


def _validate(shape: type[Spec], parsed: Parsed, value: Any, *, places: bool = True) -> Spec:
    try:
        return shape.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = [part for part in first["loc"] if isinstance(part, str | int)]
        said = _placed(parsed, where, first["msg"], first["type"])
        raise FormError(said if places else said.partition(": ")[2]) from None


def _placed(parsed: Parsed, where: Any, message: str, kind: str) -> str:
    return _at(*explain_mistake(parsed, where, message, kind))


def _at(place: tuple[int, int], what: str) -> str:
    return f"Line {place[0]}, column {place[1]}: {what}"
