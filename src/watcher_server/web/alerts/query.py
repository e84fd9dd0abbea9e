"""Which alerts the page shows: the state that is in its URL."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints

from watcher_server.alerts.service import Level
from watcher_server.kit.fields import Id
from watcher_server.web.form_query import FormQuery

_MOST_PAGES = 1_000_000
_MOST_DAYS = 36_500
_LONGEST_SEARCH = 200


def _upper(value: Any) -> Any:
    return value.strip().upper() if isinstance(value, str) else value


Search = Annotated[str, StringConstraints(strip_whitespace=True, max_length=_LONGEST_SEARCH, pattern=r"^[^\x00]*$")]


class AlertQuery(FormQuery):
    """Alerts of one level; delivered, waiting (no) or failed; with a text; of the last days; or one alert."""

    level: Annotated[Level | None, BeforeValidator(_upper)] = None
    delivered: Literal["yes", "no", "failed"] | None = None
    q: Search | None = None
    days: Annotated[int, Field(ge=1, le=_MOST_DAYS)] | None = None
    alert: Id | None = None
    page: Annotated[int, Field(ge=1, le=_MOST_PAGES)] = 1

    @property
    def filters(self) -> bool:
        """Whether anything is left out."""
        return any(value is not None for value in (self.level, self.delivered, self.q, self.days, self.alert))
