"""The HTTP shapes of health."""

from watcher_server.kit.fields import ResponseBody


class Welcome(ResponseBody):
    """What answers here, and where to go next."""

    name: str
    version: str
    links: dict[str, str]


class Live(ResponseBody):
    """The process answers."""

    status: str


class CheckResponse(ResponseBody):
    """The database, its migrations or the broker; ``reason`` says what is wrong."""

    ok: bool
    reason: str | None


class Readiness(ResponseBody):
    """Whether requests will work; ``detail`` is null when they will."""

    status: str
    detail: str | None
    checks: dict[str, CheckResponse]
