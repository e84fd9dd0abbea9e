"""Sizes as text."""

_STEP = 1024


def size_text(size_bytes: int) -> str:
    """``512 bytes``, ``1.5 MiB``: in the largest binary unit that keeps it above one."""
    amount = float(size_bytes)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if amount < _STEP:
            return f"{amount:,.0f} {unit}" if unit == "bytes" else f"{amount:,.1f} {unit}"
        amount /= _STEP
    return f"{amount:,.1f} TiB"
