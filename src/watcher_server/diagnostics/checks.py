"""A check: a figure, what is normal, how it is judged, and what to do."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

T = TypeVar("T")


class Verdict(StrEnum):
    """How a figure is judged, the mildest first; unknown is for what could not be read."""

    OK = "ok"
    UNKNOWN = "unknown"
    LOOK = "look"
    ACT = "act"

    @property
    def gravity(self) -> int:
        """How urgent it is; 0 is ok."""
        return list(Verdict).index(self)


@dataclass(frozen=True)
class Unread:
    """Something that could not be read; ``reason`` says why and what to do."""

    reason: str


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    ``figure`` and ``normal`` hold numbers and words of Watcher only, no name that a user gave, so that a bug report may
    contain both. If the verdict is not ok, ``remedy`` says in one sentence what to do, and ``commands`` what to type
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


def known(found: T | Unread) -> T | None:
    """What was read; None if it could not be."""
    return None if isinstance(found, Unread) else found


def gravest(verdicts: Iterable[Verdict]) -> Verdict:
    """The verdict that is most urgent; ok if there is none."""
    return max(verdicts, key=lambda verdict: verdict.gravity, default=Verdict.OK)


def judge_from(value: float, look: float, act: float = float("inf")) -> Verdict:
    """How a number is judged that should be low: ``look`` and ``act`` are the lowest that give these verdicts."""
    if value >= act:
        return Verdict.ACT
    return Verdict.LOOK if value >= look else Verdict.OK


def look_if(wrong: object) -> Verdict:
    """``LOOK`` if there is anything wrong, else ok."""
    return Verdict.LOOK if wrong else Verdict.OK


def act_if(wrong: object) -> Verdict:
    """``ACT`` if there is anything wrong, else ok."""
    return Verdict.ACT if wrong else Verdict.OK


def counted(number: int, thing: str, things: str | None = None) -> str:
    """``1 session``, ``2 sessions``, ``1,200 entries``."""
    return f"{number:,} {thing if number == 1 else things or thing + 's'}"


def milliseconds_text(seconds: float) -> str:
    """A short time in milliseconds, with a decimal below ten."""
    milliseconds = seconds * 1000
    return f"{milliseconds:.1f} ms" if milliseconds < 10 else f"{milliseconds:,.0f} ms"  # noqa: PLR2004 - as said


def percent_text(share: float) -> str:
    """A share of one as a percentage, with a decimal unless it is zero."""
    return f"{share * 100:.1f}".removesuffix(".0") + " %"
