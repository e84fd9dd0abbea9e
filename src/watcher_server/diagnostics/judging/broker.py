"""The broker: is it there, and will it keep what it is given."""

from datetime import datetime

from watcher_server.diagnostics.broker import BrokerFacts
from watcher_server.diagnostics.checks import Check, Verdict, judge_from
from watcher_server.diagnostics.wording import milliseconds_text, percent_text
from watcher_server.kit.sizes import size_text

ANSWER_LOOK_SECONDS = 0.05
ANSWER_ACT_SECONDS = 1.0
MEMORY_LOOK = 0.75
MEMORY_ACT = 0.9
CLIENTS_LOOK = 0.8
CLIENTS_ACT = 0.95
# Watcher has a few keys per queue, rate limit and worker.
KEYS_LOOK = 10_000
RIGHT_POLICY = "noeviction"


def judge_broker(facts: BrokerFacts) -> list[Check]:
    """The checks of a broker that answers."""
    if not facts.told:
        return [judge_answer(facts), _untold()]
    return [
        judge_answer(facts),
        judge_role(replica=facts.replica),
        judge_memory(facts.memory_bytes, facts.memory_limit),
        judge_policy(facts.policy, facts.memory_limit),
        judge_saving(saves=facts.saves, failed=facts.save_failed),
        judge_clients(facts.clients, facts.clients_most),
        judge_keys(facts.keys),
    ]


def judge_absence(reason: str, answered_at: datetime | None) -> Check:
    """A broker that does not answer; ``answered_at`` (UTC) is when it was last known to."""
    since = f"; the last time at {answered_at:%Y-%m-%d %H:%M} UTC" if answered_at is not None else ""
    return Check(
        title="Answers",
        figure=f"no{since}",
        normal=f"below {milliseconds_text(ANSWER_LOOK_SECONDS)}",
        verdict=Verdict.ACT,
        remedy=f"{reason} Reports go on meanwhile, and tasks wait in the database: nothing is lost.",
    )


def judge_answer(facts: BrokerFacts) -> Check:
    """How long a PING takes."""
    product = f"{facts.product} {facts.version}, " if facts.told else ""
    return Check(
        title="Answers",
        figure=f"{product}in {milliseconds_text(facts.answer_seconds)}",
        normal=f"below {milliseconds_text(ANSWER_LOOK_SECONDS)}",
        verdict=judge_from(facts.answer_seconds, ANSWER_LOOK_SECONDS, ANSWER_ACT_SECONDS),
        remedy="Have it near the api, and look at the load of its machine.",
    )


def _untold() -> Check:
    return Check(
        title="What it says of itself",
        figure="kept from this login",
        normal="memory, policy, persistence, clients and keys",
        verdict=Verdict.UNKNOWN,
        remedy="Let the login of WATCHER_BROKER_URL ask for it, if you want it here; nothing else depends on it.",
        commands=("ACL SETUSER NAME +info +dbsize",),
    )


def judge_role(*, replica: bool) -> Check:
    """Whether it takes what is written to it."""
    return Check(
        title="Can be written",
        figure="no, it is a replica" if replica else "yes",
        normal="yes",
        verdict=Verdict.ACT if replica else Verdict.OK,
        remedy="Point WATCHER_BROKER_URL at the primary.",
    )


def judge_memory(used: int, limit: int) -> Check:
    """How much of its memory is taken."""
    share = used / limit if limit else 0.0
    return Check(
        title="Memory",
        figure=f"{size_text(used)} of {size_text(limit)}, {percent_text(share)}"
        if limit
        else f"{size_text(used)}, no limit",
        normal=f"below {percent_text(MEMORY_LOOK)} of maxmemory",
        verdict=judge_from(share, MEMORY_LOOK, MEMORY_ACT),
        remedy="Raise maxmemory, or find what else is in it: once it is full, tasks wait in the database.",
        commands=("CONFIG SET maxmemory 1gb",) if share >= MEMORY_LOOK else (),
    )


def judge_policy(policy: str, limit: int) -> Check:
    """What it does once its memory is full: only with one policy it keeps every task."""
    is_right = policy == RIGHT_POLICY
    return Check(
        title="When its memory is full",
        figure=policy or "unknown",
        normal=f"{RIGHT_POLICY}: every other policy throws tasks away",
        verdict=Verdict.OK if is_right else Verdict.ACT if limit else Verdict.LOOK,
        remedy="Forbid it to throw anything away, in its configuration file as well.",
        commands=() if is_right else (f"CONFIG SET maxmemory-policy {RIGHT_POLICY}",),
    )


def judge_saving(*, saves: bool | None, failed: bool) -> Check:
    """Whether it writes to disk; Watcher does not need it to, but a failing one refuses what is sent to it."""
    kept = {True: "on disk", False: "in memory only", None: "unknown"}[saves]
    return Check(
        title="Persistence",
        figure=f"{kept}, and the last save failed" if failed else kept,
        normal="either: what it loses is sent again within a minute",
        verdict=Verdict.ACT if failed else Verdict.OK,
        remedy="Look at its log and its disk: by default it refuses what is written after a save that failed.",
    )


def judge_clients(clients: int, most: int) -> Check:
    """How many connections it has."""
    share = clients / most if most else 0.0
    return Check(
        title="Clients",
        figure=f"{clients:,} of {most:,}" if most else f"{clients:,}",
        normal=f"below {percent_text(CLIENTS_LOOK)} of maxclients",
        verdict=judge_from(share, CLIENTS_LOOK, CLIENTS_ACT),
        remedy="Raise maxclients, or find who connects so often: CLIENT LIST names them.",
        commands=("CLIENT LIST",) if share >= CLIENTS_LOOK else (),
    )


def judge_keys(keys: int) -> Check:
    """How many keys there are in Watcher's logical database."""
    return Check(
        title="Keys",
        figure=f"{keys:,}",
        normal=f"below {KEYS_LOOK:,}, with the database of the broker to itself",
        verdict=judge_from(keys, KEYS_LOOK),
        remedy="Give Watcher a database of the broker of its own, by the number at the end of WATCHER_BROKER_URL.",
    )
