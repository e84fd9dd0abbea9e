"""A check: a figure, what is normal, how it is judged, and what to do."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How a figure is judged; unknown is what could not be read."""

    OK = "ok"
    LOOK = "look"
    ACT = "act"
    UNKNOWN = "unknown"


# The mildest first.
_GRAVITY = (Verdict.OK, Verdict.UNKNOWN, Verdict.LOOK, Verdict.ACT)


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    ``figure`` and ``normal`` hold numbers and words of Watcher only, no name that a user gave, so that both can be
    shown to strangers. ``remedy`` says in one sentence what to do when it is not normal, ``commands`` what to type
    for it: SQL, or a command of a shell.
    """

    title: str
    figure: str
    normal: str
    verdict: Verdict
    remedy: str
    commands: Sequence[str] = ()


@dataclass(frozen=True)
class Section:
    """Checks that belong together; ``key`` names them in addresses."""

    key: str
    title: str
    checks: Sequence[Check]

    @property
    def verdict(self) -> Verdict:
        """The gravest of its checks."""
        return gravest(check.verdict for check in self.checks)


def gravest(verdicts: Iterable[Verdict]) -> Verdict:
    """The one that wants somebody most; ok when there is none."""
    return max(verdicts, key=_GRAVITY.index, default=Verdict.OK)


def judge_from(value: float, look: float, act: float = float("inf")) -> Verdict:
    """How a number is judged that should be low: from ``look`` on it is looked at, from ``act`` on one acts."""
    if value >= act:
        return Verdict.ACT
    return Verdict.LOOK if value >= look else Verdict.OK
