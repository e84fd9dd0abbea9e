"""How a script pings: the line for the crontab, and the same in the words of other programs."""

import tomllib
from pathlib import Path
from typing import NamedTuple

_TEXTS = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


class Recipe(NamedTuple):
    """Lines to copy, and what they are for."""

    title: str
    about: str
    lines: str


def ping_recipes(url: str, slug: str | None, schedule: str | None, timezone: str) -> list[Recipe]:
    """The lines for this ping URL, on the pipeline's schedule; without one at two in the morning."""
    filled = {
        "url": url,
        "when": schedule or "0 2 * * *",
        "timezone": timezone,
        "curl": "curl -fsS -m 10 --retry 5 -o /dev/null",
        # Kubernetes takes 63 characters, and adds eleven to the name of a CronJob for each of its jobs.
        "job": (slug or "").replace("_", "-").strip("-")[:52].strip("-") or "load",
    }
    return [Recipe(**{name: text % filled for name, text in each.items()}) for each in _TEXTS["recipes"]]
