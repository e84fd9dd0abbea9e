"""The database server: is it there, is it ours, does it have room."""

from watcher_server.diagnostics.checks import Check, Verdict, judge_from
from watcher_server.diagnostics.server import ServerFacts
from watcher_server.diagnostics.wording import counted, milliseconds_text, percent_text
from watcher_server.health.service import Check as ReadinessCheck
from watcher_server.kit.durations import duration_text
from watcher_server.kit.sizes import size_text

OLDEST_MAJOR = 16
NEWEST_MAJOR = 18
ANSWER_LOOK_SECONDS = 0.05
ANSWER_ACT_SECONDS = 1.0
CONNECTIONS_LOOK = 0.8
CONNECTIONS_ACT = 0.95
# PostgreSQL refuses to write at two thousand million; autovacuum begins to prevent it at two hundred million.
AGE_LOOK = 500_000_000
AGE_ACT = 1_000_000_000
HIT_LOOK = 0.95
# Below so many blocks a share says nothing: what was just started has read everything once.
HIT_BLOCKS = 1_000_000
CLOCK_LOOK_SECONDS = 2.0
CLOCK_ACT_SECONDS = 30.0
SIZE_LOOK_BYTES = 4096
# Below so many the empty tables are what weighs.
SIZE_EXECUTIONS = 100_000

_MAJOR = 10_000


def judge_server(facts: ServerFacts, migrations: ReadinessCheck) -> list[Check]:
    """The checks of a server that answers."""
    return [
        judge_answer(facts.answer_seconds),
        judge_version(facts.version, facts.version_number),
        judge_migrations(migrations),
        judge_writable(read_only=facts.read_only, standby=facts.standby),
        judge_connections(facts.connections, facts.connections_most),
        judge_age(facts.transaction_age, facts.multixact_age),
        judge_cache(facts.blocks_hit, facts.blocks_read),
        judge_clock(facts.clock_difference.total_seconds()),
        judge_sight(facts.hidden_sessions, facts.role),
    ]


def judge_answer(seconds: float) -> Check:
    """How long the shortest statement takes."""
    return Check(
        title="Answers",
        figure=f"in {milliseconds_text(seconds)}",
        normal=f"below {milliseconds_text(ANSWER_LOOK_SECONDS)}",
        verdict=judge_from(seconds, ANSWER_LOOK_SECONDS, ANSWER_ACT_SECONDS),
        remedy="Have api and database near each other, and look at the load of both machines.",
    )


def judge_absence(reason: str) -> Check:
    """A database that does not answer."""
    return Check(
        title="Answers",
        figure="no",
        normal=f"below {milliseconds_text(ANSWER_LOOK_SECONDS)}",
        verdict=Verdict.ACT,
        remedy=reason,
    )


def judge_version(version: str, number: int) -> Check:
    """The version of PostgreSQL; ``number`` is its server_version_num."""
    major = number // _MAJOR
    verdict = Verdict.ACT if major < OLDEST_MAJOR else Verdict.LOOK if major > NEWEST_MAJOR else Verdict.OK
    return Check(
        title="Version",
        figure=f"PostgreSQL {version.partition(' ')[0]}",
        normal=f"{OLDEST_MAJOR} to {NEWEST_MAJOR}",
        verdict=verdict,
        remedy=f"Use PostgreSQL {OLDEST_MAJOR} to {NEWEST_MAJOR}: Watcher is tested with these.",
    )


def judge_migrations(migrations: ReadinessCheck) -> Check:
    """Whether the tables are those of this version."""
    return Check(
        title="Migrations",
        figure="none is missing" if migrations.ok else "not at the revision of this version",
        normal="none is missing",
        verdict=Verdict.OK if migrations.ok else Verdict.ACT,
        remedy=migrations.reason or "Bring the tables to this version; running it twice does no harm.",
        commands=() if migrations.ok else ("watcher migrate",),
    )


def judge_writable(*, read_only: bool, standby: bool) -> Check:
    """Whether Watcher can write."""
    refusal = "no, it is a standby" if standby else "no, transactions are read-only by default" if read_only else None
    return Check(
        title="Can be written",
        figure=refusal or "yes",
        normal="yes",
        verdict=Verdict.ACT if refusal else Verdict.OK,
        remedy="Point WATCHER_DATABASE_URL at the primary, and switch default_transaction_read_only off.",
        commands=("ALTER ROLE CURRENT_USER RESET default_transaction_read_only;",) if read_only and not standby else (),
    )


def judge_connections(used: int, most: int) -> Check:
    """How many connections of the server are taken."""
    return Check(
        title="Connections",
        figure=f"{used:,} of {most:,}",
        normal=f"below {percent_text(CONNECTIONS_LOOK)}",
        verdict=judge_from(used / max(1, most), CONNECTIONS_LOOK, CONNECTIONS_ACT),
        remedy="Raise max_connections, or lower WATCHER_QUERY_POOL_SIZE, WATCHER_INGEST_POOL_SIZE and the number of "
        "api and worker processes.",
    )


def judge_age(transactions: int, multixacts: int) -> Check:
    """How far PostgreSQL is from having to refuse writes to protect its transaction numbers."""
    oldest = max(transactions, multixacts)
    verdict = judge_from(oldest, AGE_LOOK, AGE_ACT)
    return Check(
        title="Age of transaction ids",
        figure=f"{oldest:,} transactions",
        normal=f"below {AGE_LOOK:,}; PostgreSQL stops writing at 2,000,000,000",
        verdict=verdict,
        remedy="End the oldest open transactions and unused replication slots, then have everything vacuumed.",
        commands=() if verdict is Verdict.OK else ("vacuumdb --all --freeze --jobs 2",),
    )


def judge_cache(hit: int, read: int) -> Check:
    """How much of what is read lies in PostgreSQL's memory."""
    asked = hit + read
    share = hit / asked if asked else 1.0
    is_known = asked >= HIT_BLOCKS
    return Check(
        title="Found in memory",
        figure=f"{percent_text(share)} of {asked:,} blocks",
        normal=f"above {percent_text(HIT_LOOK)}, once {HIT_BLOCKS:,} blocks were read",
        verdict=Verdict.LOOK if is_known and share < HIT_LOOK else Verdict.OK,
        remedy="Give PostgreSQL memory for a month of executions: raise shared_buffers to a quarter of the machine's.",
        commands=("ALTER SYSTEM SET shared_buffers = '4GB';  -- then restart PostgreSQL",)
        if is_known and share < HIT_LOOK
        else (),
    )


def judge_clock(seconds: float) -> Check:
    """By how much the database's clock is ahead of the api's."""
    apart = abs(seconds)
    shown = milliseconds_text(apart) if apart < 1 else duration_text(apart)
    return Check(
        title="Clocks of api and database",
        figure=f"{shown} apart",
        normal=f"below {CLOCK_LOOK_SECONDS:.0f} s",
        verdict=judge_from(apart, CLOCK_LOOK_SECONDS, CLOCK_ACT_SECONDS),
        remedy="Have both machines set their clocks by NTP: times of runs come from one, deadlines from the other.",
        commands=("timedatectl set-ntp true",) if apart >= CLOCK_LOOK_SECONDS else (),
    )


def judge_sight(hidden: int, role: str) -> Check:
    """Whether Watcher's role may see what other sessions do."""
    quoted = '"' + role.replace('"', '""') + '"'
    return Check(
        title="What Watcher may see",
        figure=f"{counted(hidden, 'session')} of other roles hidden" if hidden else "every session of this database",
        normal="every session; a hidden one may hold locks unseen",
        verdict=Verdict.LOOK if hidden else Verdict.OK,
        remedy="Have a superuser let Watcher's role see statistics; nothing else depends on it.",
        commands=(f"GRANT pg_monitor TO {quoted};",) if hidden else (),
    )


def judge_size(size_bytes: int, executions: int) -> Check:
    """What the database weighs for what it keeps; the figures of a usual one are in docs/growth.md."""
    each = size_bytes / max(1, executions)
    is_known = executions >= SIZE_EXECUTIONS
    detail = f", {size_text(round(each))} for each of about {executions:,} executions" if is_known else ""
    return Check(
        title="Size",
        figure=size_text(size_bytes) + detail,
        normal=f"below {size_text(SIZE_LOOK_BYTES)} for each execution, 460 bytes without metadata and lineage",
        verdict=judge_from(each, SIZE_LOOK_BYTES) if is_known else Verdict.OK,
        remedy="See which table is the largest: metadata may be heavy, or space may be kept by what was deleted.",
    )
