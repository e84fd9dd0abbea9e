"""How long a task waits before it is tried again."""

import random


def retry_delay(retries: int, base_seconds: float, cap_seconds: float) -> float:
    """Seconds until the next try, after so many retries: doubling from the base up to the cap, jittered.

    The jitter takes up to half of the delay away ("equal jitter", Brooker, *Exponential Backoff And Jitter*, AWS
    Architecture Blog, 2015), so that tasks which failed together do not come back together, and none comes back at
    once.
    """
    whole = min(cap_seconds, base_seconds * 2.0 ** min(retries, 60))
    return whole * (0.5 + random.random() / 2)  # noqa: S311 - spreading load needs no secret
