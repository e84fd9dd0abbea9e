"""The days that a rule treats as a weekday of their own."""

import logging
from collections.abc import Sequence
from datetime import date, timedelta
from functools import lru_cache

logger = logging.getLogger(__name__)

# As no other weekday is numbered, from 0 or from 1.
HOLIDAY = 8
MOST_ENTRIES = 400


def check_entry(entry: str) -> str:
    """A date or a country as it is stored: ``2026-12-24``, ``DE``, ``DE-BY``; raises ValueError if it is neither."""
    entry = entry.strip().upper()
    try:
        return date.fromisoformat(entry).isoformat()
    except ValueError:
        pass
    try:
        _days_of(entry, 2026)
    except ImportError:
        raise ValueError(
            "the holidays of a country need the package of that name: install watcher-server[holidays];"
            " dates such as 2026-12-24 do without it"
        ) from None
    except (NotImplementedError, ValueError):
        raise ValueError(
            f"{entry!r} is neither a date such as 2026-12-24 nor a country with holidays, such as DE or DE-BY"
        ) from None
    return entry


def find_holidays(entries: Sequence[str], first: date, last: date) -> frozenset[date]:
    """Those of the entries' days that lie from the first to the last, both included."""
    return frozenset(day for day in _all_days(tuple(entries), first.year, last.year) if first <= day <= last)


def holidays_around(entries: Sequence[str], at: date) -> frozenset[date]:
    """The days that matter for a run on that day: a year back, which is as far as a rule looks."""
    return find_holidays(entries, at - timedelta(days=min(366, (at - date.min).days)), at) if entries else frozenset()


@lru_cache(maxsize=1_000)
def _all_days(entries: tuple[str, ...], first_year: int, last_year: int) -> frozenset[date]:
    days: set[date] = set()
    for entry in entries:
        if entry[:1].isdigit():
            days.add(date.fromisoformat(entry))
        else:
            days |= _days_of_country(entry, first_year, last_year)
    return frozenset(days)


def _days_of_country(entry: str, first_year: int, last_year: int) -> set[date]:
    try:
        return {day for year in range(first_year, last_year + 1) for day in _days_of(entry, year)}
    except ImportError:
        # It was there when the rule was made. Judging goes on, as if the country had no holidays.
        logger.warning("The holidays of %s are not known: install watcher-server[holidays]", entry)
        return set()


@lru_cache(maxsize=10_000)
def _days_of(entry: str, year: int) -> frozenset[date]:
    # It loads the rules of a country when that is asked for, and most rules have no holidays.
    from holidays import country_holidays  # noqa: PLC0415

    country, _, part = entry.partition("-")
    return frozenset(country_holidays(country, subdiv=part or None, years=year))
