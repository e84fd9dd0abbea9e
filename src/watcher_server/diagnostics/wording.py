"""How figures are written."""

_MILLISECONDS = 1000


def counted(number: int, thing: str, things: str | None = None) -> str:
    """``1 session``, ``2 sessions``, ``1,200 entries``."""
    return f"{number:,} {thing if number == 1 else things or thing + 's'}"


def milliseconds_text(seconds: float) -> str:
    """A short time in milliseconds, with a decimal below ten."""
    milliseconds = seconds * _MILLISECONDS
    return f"{milliseconds:.1f} ms" if milliseconds < 10 else f"{milliseconds:,.0f} ms"  # noqa: PLR2004 - as said


def percent_text(share: float) -> str:
    """A share of one as a percentage, with a decimal only where it says something."""
    return f"{share * 100:.1f}".removesuffix(".0") + " %"
