"""Routes, calendars and windows in words."""

from watcher_server.alerts.config.fields import write_duration
from watcher_server.alerts.config.schemas import Match, RouteSpec, WindowSpec


def describe_match(match: Match) -> str:
    """What matches, in one line."""
    parts = [
        f"{name} {' or '.join(str(value) for value in values)}"
        for name in ("owner", "tag", "type", "pipeline", "kind")
        if (values := getattr(match, name))
    ]
    if match.level:
        at_least = match.level.startswith(">=")
        parts.append(f"{match.level.removeprefix('>=')} {'or worse' if at_least else 'only'}")
    return "; ".join(parts) or "everything"


def describe_route(route: RouteSpec) -> list[str]:
    """When and how a route tells, one thing a line, as far as it is not the usual."""
    lines = []
    if route.hours:
        besides = f", but {route.hours.exception.removeprefix('>=')} at any hour" if route.hours.exception else ""
        outside = "held until it opens" if route.hours.outside == "hold" else "not told"
        lines.append(f"in the hours of {route.hours.calendar}{besides}; outside {outside}")
    if route.digest:
        lines.append(f"in one message a day at {route.digest.at} {route.digest.zone}")
    if route.repeat:
        lines.append(f"again every {write_duration(route.repeat)} until somebody acknowledges")
    lines += [
        f"if nobody acknowledges within {write_duration(step.after)}: {', '.join(step.to)}" for step in route.escalate
    ]
    if route.fallback:
        lines.append(f"{route.fallback} where a channel is broken")
    if route.continue_:
        lines.append("then the next routes are asked too")
    return lines


def describe_when(window: WindowSpec) -> str:
    """When a window is, as far as its own times do not say it."""
    if window.cron and window.duration:
        return f"{window.cron} {window.zone}, for {write_duration(window.duration)}"
    return "once" if window.until else "until somebody ends it"
