"""The pools of this api process: is there a connection for whoever needs one."""

from watcher_server.diagnostics.checks import Check, Verdict, judge_from
from watcher_server.diagnostics.pools import IngestPoolFacts, QueryPoolFacts
from watcher_server.diagnostics.wording import counted, percent_text

POOL_LOOK = 0.8
POOL_ACT = 1.0
# Of all requests since the start of the process.
ERRORS_LOOK = 1


def judge_pools(query: QueryPoolFacts, ingest: IngestPoolFacts) -> list[Check]:
    """The checks of both pools."""
    return [judge_query_pool(query), judge_ingest_pool(ingest), judge_ingest_errors(ingest)]


def judge_query_pool(pool: QueryPoolFacts) -> Check:
    """The connections of pages and of all requests but reports of runs."""
    beyond = f", {pool.overflow} of them beyond the {pool.size} that are kept" if pool.overflow else ""
    return Check(
        title="Query pool",
        figure=f"{pool.in_use} of {pool.most} in use{beyond}",
        normal=f"below {percent_text(POOL_LOOK)}",
        verdict=judge_from(pool.in_use / pool.most, POOL_LOOK, POOL_ACT),
        remedy="See which statements take long, then raise WATCHER_QUERY_POOL_SIZE or WATCHER_API_PROCESSES.",
    )


def judge_ingest_pool(pool: IngestPoolFacts) -> Check:
    """The connections of reports of runs; for a moment all of them are often in use."""
    waiting = f", {counted(pool.waiting, 'report')} waiting" if pool.waiting else ""
    return Check(
        title="Ingest pool",
        figure=f"{pool.in_use} of {pool.most} in use{waiting}",
        normal=f"fewer than {pool.most} reports waiting",
        verdict=judge_from(pool.waiting, pool.most, 10 * pool.most),
        remedy="See who waits for locks, then raise WATCHER_INGEST_POOL_SIZE or WATCHER_API_PROCESSES.",
    )


def judge_ingest_errors(pool: IngestPoolFacts) -> Check:
    """Reports that got no connection since this process started."""
    return Check(
        title="Reports without a connection",
        figure=f"{pool.errors:,} of {pool.requests:,} since this process started",
        normal="none",
        verdict=Verdict.LOOK if pool.errors >= ERRORS_LOOK else Verdict.OK,
        remedy="They were answered with 503 and may be sent again: the database was away, or the pool is too small.",
    )
