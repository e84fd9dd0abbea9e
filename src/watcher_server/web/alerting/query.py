"""The state of the pages of who is told, as their addresses have it."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from watcher_server.web.paging import FormQuery

CHANNELS, ROUTES, CALENDARS, WINDOWS = "/ui/channels", "/ui/routes", "/ui/routes/calendar", "/ui/windows"

# A name that an address brings along; nothing has one that is not in this form.
GivenName = Annotated[str, StringConstraints(max_length=50, pattern=r"^[^\x00]*$")]


class DoneView(FormQuery):
    """What the form that led here did, to what, and to how many messages."""

    done: Literal["saved", "removed", "tested", "resent", "added", "ended"] | None = None
    name: GivenName = ""
    count: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0


class EditView(FormQuery):
    """Which object is edited; a new one without a name, of that type where it is a channel."""

    name: GivenName = ""
    type: GivenName = ""
