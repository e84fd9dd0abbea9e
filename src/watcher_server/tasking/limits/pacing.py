"""The pace of tasks: how many of each kind may be published now, so that their rates hold for the whole cluster.

The broker keeps one number per task: the moment from which the next start conforms to the rate (the generic cell rate
algorithm, ITU-T I.371). Every relay asks there, and one script decides by the broker's clock, so that all processes on
all machines share one rate.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from watcher_server.tasking.sending.broker import key_prefix, redis_client
from watcher_server.tasking.wire import RATE_KEY_PREFIX

_MICROSECONDS = 1_000_000
# A year. Later moments would be larger than the integers that Lua's numbers hold exactly.
_LONGEST_INTERVAL = 365 * 86_400 * _MICROSECONDS

# Times are whole microseconds since the epoch. The arguments are per key the number wanted and the microseconds from
# one start to the next; the answer is per key the number granted and the microseconds until there is another.
# At most a tenth of a second is made up for: enough for a relay that asks a little late, too little for a burst.
# A stored moment further away than one start of this rate comes from a clock that was ahead or from a slower rate. It
# is replaced, because nothing would be granted until then.
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

# However far back this puts the moment, the next request gets no more than the idle credit.
_GIVE_BACK = """
local stored = tonumber(redis.call('GET', KEYS[1]) or '')
if stored then
    local due = stored - tonumber(ARGV[1]) * tonumber(ARGV[2])
    redis.call('SET', KEYS[1], string.format('%.0f', due), 'KEEPTTL')
end
"""


@dataclass(frozen=True)
class Demand:
    """How many of a task a relay could publish now (0 only asks when), and the task's limit, above zero."""

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
    threads. If the broker loses its data, the supply begins as after an idle time. Any call raises redis.RedisError
    when the broker does not answer within two seconds.
    """

    def __init__(self, broker_url: str) -> None:
        self._keys = key_prefix(broker_url) + RATE_KEY_PREFIX
        self._broker = redis_client(broker_url)
        self._take = self._broker.register_script(_TAKE)
        self._give_back = self._broker.register_script(_GIVE_BACK)

    def take(self, demands: Mapping[str, Demand]) -> dict[str, Grant]:
        """What each task is granted, in one round trip; what is granted counts as published."""
        if not demands:
            return {}
        arguments = [number for demand in demands.values() for number in (demand.wanted, _interval(demand.per_second))]
        answer = self._take([self._keys + task for task in demands], arguments)
        return {
            task: Grant(granted, wait / _MICROSECONDS)
            for task, granted, wait in zip(demands, answer[::2], answer[1::2], strict=True)
        }

    def give_back(self, task: str, count: int, per_second: float) -> None:
        """Return grants that were not used after all."""
        self._give_back([self._keys + task], [count, _interval(per_second)])

    def close(self) -> None:
        """Close the connections to the broker; the next call opens others."""
        self._broker.close()


def _interval(per_second: float) -> float:
    """The microseconds from one task to the next, with fractions: rounding would change fast rates."""
    return min(_MICROSECONDS / per_second, _LONGEST_INTERVAL)
