"""Judging a pipeline's whole past at once, each run by what was known before it.

It says what :func:`watcher_server.anomalies.detection.detect_anomalies` would have said of each run as it ended,
worked out in one pass: windows slide and sums follow. Of the seasonal method the level follows with every run; learning
its effects is what takes long, and is done as seldom as in judgements. A year of hourly runs takes a second or two, and
nothing is written.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from watcher_server.anomalies.budget import Errors
from watcher_server.anomalies.expectations import ExpectedRange
from watcher_server.anomalies.learners import PastRun, learner_for
from watcher_server.anomalies.rules import Direction, Rule


class Verdict(NamedTuple):
    """What is said of one run: the range (None while the rule learns), and 1 or -1 for too high or too low, else 0."""

    run: PastRun
    within: ExpectedRange | None
    side: int


class Past(NamedTuple):
    """The verdicts of some runs, the oldest first; the threshold in force after them, and for how many seconds."""

    verdicts: list[Verdict]
    threshold: float
    seconds: float

    @property
    def judged(self) -> int:
        """How many runs had a verdict."""
        return sum(verdict.within is not None for verdict in self.verdicts)

    @property
    def flagged(self) -> int:
        """How many runs are anomalies."""
        return sum(verdict.side != 0 for verdict in self.verdicts)

    @property
    def alerts(self) -> int:
        """How many alerts there would have been: consecutive anomalies on one side are one."""
        sides = [verdict.side for verdict in self.verdicts if verdict.within is not None]
        return sum(side not in {0, before} for before, side in zip([0, *sides], sides, strict=False))


def replay(rule: Rule, runs: Iterable[PastRun]) -> Past:
    """Judge these runs, the oldest first, as the rule would have as they ended.

    With ``alarms_per_month`` its threshold follows the errors as it does in the product: it is found anew when the
    history has grown by a tenth.
    """
    learner, errors = learner_for(rule), Errors()
    per_month = rule.alarms_per_month
    in_force = rule if per_month is None else replace(rule, z_threshold=errors.threshold(per_month))
    due = float("-inf")
    verdicts = []
    for run in runs:
        at = run.ended_at.timestamp()
        if per_month is not None and at >= due:
            in_force = replace(rule, z_threshold=errors.threshold(per_month))
            due = at + errors.due_after()
        expected = learner.expect(run)
        within = None if expected is None else expected.range_of(in_force)
        side = within.side_of(run.value, rule.direction) if within else 0
        verdicts.append(Verdict(run, within, side))
        if per_month is not None and expected is not None:
            errors.add(at, _size(expected.score(run.value), rule.direction))
        learner.learn(run, side, within)
    threshold = rule.z_threshold if per_month is None else errors.threshold(per_month)
    return Past(verdicts, threshold, errors.due_after())


def _size(score: float, direction: str) -> float:
    """The part of an error that may alarm."""
    return max(0.0, -score if direction == Direction.LOW else score) if direction != Direction.BOTH else abs(score)
