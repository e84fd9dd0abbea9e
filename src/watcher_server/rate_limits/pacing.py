"""The pace of tasks: how many of each kind may be published now, so that their rates hold for the whole cluster.

The broker keeps one number per task: the moment from which the next one conforms to the rate (the generic cell rate
algorithm, ITU-T I.371). Whoever publishes asks there, one script decides by the broker's own clock, and so any number
of processes on any number of machines share one rate.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from watcher_server.queueing.broker import redis_client

_KEY_PREFIX = "watcher:rate:"
_MICROSECONDS = 1_000_000
# A year. Beyond it the moments would leave what the broker's numbers hold exactly.
_LONGEST_INTERVAL = 365 * 86_400 * _MICROSECONDS

# Times are whole microseconds since the epoch. Of each key come how many are wanted, and the microseconds from one to
# the next; the answer is per key how many are granted, and the microseconds until there is another.
# Only a tenth of a second may be made up for: enough for whoever asks a little late, too little for a burst.
# A moment further away than the next one of this rate comes from a clock that was ahead or from a slower rate; it is
# stored anew, or it would stay out of reach.
_TAKE = """
local IDLE_CREDIT, CLOCK_SLACK, KEPT_MILLISECONDS = 100000, 1000000, 60000
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
local answer = {}
for i, key in ipairs(KEYS) do
    local wanted, interval = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
    local stored = tonumber(redis.call('GET', key) or '') or 0
    local due = math.max(stored, now - IDLE_CREDIT)
    local out_of_reach = due > now + interval + CLOCK_SLACK
    if out_of_reach then due = now + interval end
    local granted = 0
    if due <= now then granted = math.min(wanted, math.floor((now - due) / interval) + 1) end
    due = math.floor(due + granted * interval + 0.5)
    if granted > 0 or out_of_reach then
        local kept = math.max(due - now, 0) / 1000 + KEPT_MILLISECONDS
        redis.call('SET', key, string.format('%.0f', due), 'PX', string.format('%.0f', kept))
    end
    answer[2 * i - 1], answer[2 * i] = granted, math.max(due - now, 0)
end
return answer
"""

# However far back this puts the moment, the next one who asks gets no more than the idle credit.
_GIVE_BACK = """
local stored = tonumber(redis.call('GET', KEYS[1]) or '')
if stored then
    local due = stored - tonumber(ARGV[1]) * tonumber(ARGV[2])
    redis.call('SET', KEYS[1], string.format('%.0f', due), 'KEEPTTL')
end
"""


@dataclass(frozen=True)
class Demand:
    """How many of a task somebody could publish now (0 only asks when), and the task's limit, above zero."""

    wanted: int
    per_second: float


@dataclass(frozen=True)
class Grant:
    """How many may be published now, and the seconds until one more may be; 0 when more than wanted were free."""

    granted: int
    wait_seconds: float


class Pacer:
    """Hands out the right to publish, from the one supply that all processes share.

    Of every task at most ``rate * seconds + rate / 10 + 1`` are granted in any stretch of time. Safe in several
    threads. Should the broker lose its memory, the supply begins anew, as after an idle time.

    Raises:
        redis.RedisError: from any call, when the broker does not answer within two seconds.
    """

    def __init__(self, broker_url: str) -> None:
        self._broker = redis_client(broker_url)
        self._take = self._broker.register_script(_TAKE)
        self._give_back = self._broker.register_script(_GIVE_BACK)

    def take(self, demands: Mapping[str, Demand]) -> dict[str, Grant]:
        """What each task is granted, in one round trip; what is granted counts as published."""
        if not demands:
            return {}
        arguments = [number for demand in demands.values() for number in (demand.wanted, _interval(demand.per_second))]
        answer = self._take([_key(task) for task in demands], arguments)
        return {
            task: Grant(granted, wait / _MICROSECONDS)
            for task, granted, wait in zip(demands, answer[::2], answer[1::2], strict=True)
        }

    def give_back(self, task: str, count: int, per_second: float) -> None:
        """Return grants that were not used after all."""
        self._give_back([_key(task)], [count, _interval(per_second)])

    def close(self) -> None:
        """Close the connections to the broker."""
        self._broker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _key(task: str) -> str:
    return _KEY_PREFIX + task


def _interval(per_second: float) -> float:
    """The microseconds from one task to the next, fractions included: rounded, fast rates would be off."""
    return min(_MICROSECONDS / per_second, _LONGEST_INTERVAL)
