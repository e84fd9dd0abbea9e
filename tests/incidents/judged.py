"""What is missed, late, stale and lost, in plain Python: nothing here asks the database or knows cron."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from statistics import median

MINUTE = timedelta(minutes=1)
# What the tests set for all pipelines, in minutes.
LOST_AFTER = 180
LOOKBACK = 60


@dataclass(frozen=True)
class Setting:
    """A pipeline: it is to start every so many minutes, if at all. Everything is in minutes."""

    every: int | None
    grace: int
    skips: bool
    timely: int | None
    fresh: int | None
    lost_after: int | None


@dataclass(frozen=True)
class Run:
    """A run as it was: when it began, how long it took (None: it never ended), and when that was reported.

    ``start_told`` and ``end_told`` are by how many minutes later than it happened.
    """

    began: int
    took: int | None
    start_told: int
    end_told: int
    succeeded: bool
    backfill: bool

    @property
    def known_from(self) -> int:
        """The minute from which somebody knows of it."""
        return self.began + self.start_told

    @property
    def ended_known_from(self) -> int | None:
        """The minute from which somebody knows of its end; never before its start is known."""
        return None if self.took is None else max(self.known_from, self.began + self.took + self.end_told)


@dataclass
class Known:
    """What is known of a run by now."""

    run: Run
    start: datetime
    end: datetime | None = None
    lost: bool = False
    late: bool = False
    was_silent: bool = False

    @property
    def succeeded(self) -> bool:
        """Whether it said that it did its work."""
        return self.end is not None and not self.lost and self.run.succeeded

    def was_open_at(self, moment: datetime) -> bool:
        """Whether it had begun and not ended by then."""
        return self.end is None or self.end > moment


@dataclass
class Judge:
    """What a check would have to say of one pipeline, as it goes from check to check."""

    setting: Setting
    began_at: datetime
    known: dict[Run, Known] = field(default_factory=dict)
    expected: datetime | None = None
    missed: list[datetime] = field(default_factory=list)
    counted: int = 0
    first_missed: datetime | None = None

    def __post_init__(self) -> None:
        if self.setting.every is not None:
            self.expected = self.began_at + self.setting.every * MINUTE

    @property
    def runs(self) -> list[Known]:
        """What is known of the runs that a schedule may expect, in the order of their starts."""
        return sorted((each for each in self.known.values() if not each.run.backfill), key=lambda each: each.start)

    def hear(self, run: Run, minute: int) -> None:
        """Take what is known of the run by this minute."""
        if run.known_from > minute:
            return
        found = self.known.setdefault(run, Known(run, self.began_at + run.began * MINUTE))
        if run.ended_known_from is not None and run.ended_known_from <= minute:
            found.end, found.lost = found.start + (run.took or 0) * MINUTE, False

    def check_schedule(self, now: datetime) -> None:
        """Go through what was expected until a run that may still start."""
        every, grace = (self.setting.every or 0) * MINUTE, self.setting.grace * MINUTE
        new = []
        while self.expected is not None and self.expected <= now:
            opens, closes = self.expected - min(grace, every / 2), min(self.expected + grace, self.expected + every)
            if not any(opens <= each.start <= closes for each in self.runs):
                if self.expected + grace >= now:
                    break
                waits = any(each.start < opens and each.was_open_at(self.expected) for each in self.runs)
                if not (waits and self.setting.skips):
                    new.append(self.expected)
            self.expected += every
        if new:
            self._count(new)

    def _count(self, new: list[datetime]) -> None:
        if self.is_missed:
            self.counted += len(new)
        else:
            self.counted, self.first_missed = len(new), new[0]
        self.missed += new

    @property
    def is_missed(self) -> bool:
        """Whether the latest that was missed has not begun since, and no later one has."""
        if not self.missed:
            return False
        early = min(self.setting.grace * MINUTE, (self.setting.every or 0) * MINUTE / 2)
        return not any(each.start >= self.missed[-1] - early for each in self.runs)

    def check_timeliness(self, now: datetime, looked_at: datetime | None) -> None:
        """Mark what takes or took too long."""
        if self.setting.timely is None:
            return
        since = min(filter(None, (now - LOOKBACK * MINUTE, looked_at)))
        for each in self.known.values():
            until = now if each.end is None else each.end
            is_looked_at = not each.run.backfill if each.end is None else each.succeeded and each.end >= since
            each.late |= is_looked_at and each.start + self.setting.timely * MINUTE < until

    @property
    def is_late(self) -> bool:
        """Whether one that was found late is still going."""
        return any(each.late and each.end is None for each in self.known.values())

    def is_stale(self, now: datetime) -> bool:
        """Whether the last write, or the beginning, is too long ago."""
        if self.setting.fresh is None:
            return False
        written = (each.end for each in self.runs if each.end is not None and each.succeeded)
        return max(written, default=self.began_at) + self.setting.fresh * MINUTE < now

    def look_for_lost(self, now: datetime) -> None:
        """End what was silent for too long at this look and at the one before."""
        patience = self._patience()
        for each in self.known.values():
            is_in_time = self.setting.timely is not None and each.start + self.setting.timely * MINUTE >= now
            silent = (
                not each.run.backfill
                and each.end is None
                and each.start < now - patience
                and (self.setting.lost_after is not None or not is_in_time)
            )
            if silent and each.was_silent:
                each.end, each.lost = each.start, True
            each.was_silent = silent

    def _patience(self) -> timedelta:
        if self.setting.lost_after is not None:
            return self.setting.lost_after * MINUTE
        took = [each.run.took or 0 for each in reversed(self.runs) if each.succeeded][:20]
        return max(60, 3 * median(took)) * MINUTE if len(took) >= 3 else LOST_AFTER * MINUTE

    @property
    def has_lost(self) -> bool:
        """Whether the one that began last, of those that have ended, was lost."""
        ended = [each for each in self.runs if each.end is not None]
        return bool(ended) and ended[-1].lost

    def wrong(self, now: datetime) -> set[str]:
        """The words that hold."""
        found = {"missed": self.is_missed, "late": self.is_late, "stale": self.is_stale(now), "lost": self.has_lost}
        return {word for word, holds in found.items() if holds}
