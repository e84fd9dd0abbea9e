"""The HTTP shapes of who would be told."""

from datetime import datetime

from watcher_server.kit.fields import ResponseBody


class EscalationExplained(ResponseBody):
    """Who is told too when nobody has acknowledged it after so many seconds."""

    after_seconds: float
    to: list[str]


class RouteExplained(ResponseBody):
    """What a route does with it.

    ``state`` is takes, differs (``why_not`` names each field of its match that does not fit) or after (one before it
    takes it). ``channels`` are told at ``told_at`` (UTC), which is null for at once; ``waits_for`` says why not at
    once. With ``drops`` they are not told at all.
    """

    route: str
    state: str
    why_not: list[str]
    channels: list[str]
    told_at: datetime | None = None
    waits_for: str | None = None
    drops: bool = False
    repeat_seconds: float | None = None
    escalates: list[EscalationExplained]
    fallback: str | None = None


class Explanation(ResponseBody):
    """Who would be told if this were found wrong at ``at`` (UTC), route by route.

    ``window`` keeps it quiet until ``quiet_until``, null for one without an end; what still holds is told then.
    """

    at: datetime
    kind: str
    level: str
    pipeline: str | None
    owner: str | None
    tags: list[str]
    window: str | None = None
    quiet_until: datetime | None = None
    routes: list[RouteExplained]
