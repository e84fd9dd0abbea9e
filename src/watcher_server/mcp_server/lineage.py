"""What lies upstream and downstream of an address or a pipeline, and what of it is not well."""

from collections import Counter

from watcher_server.kit.listing import Page
from watcher_server.kit.text import plural
from watcher_server.lineage.impact import read_reach
from watcher_server.lineage.places import read_places
from watcher_server.lineage.schemas import ReachedAddress
from watcher_server.lineage.status import read_address_statuses
from watcher_server.mcp_server.answer import Answer, quoted
from watcher_server.mcp_server.arguments import Around
from watcher_server.mcp_server.context import Context
from watcher_server.mcp_server.lookup import Thing, find_place
from watcher_server.pipelines.status import WRONG, Status


async def answer_upstream(context: Context, wanted: Around) -> Answer:
    """What feeds it."""
    return await _answer(context, wanted, upstream=True)


async def answer_downstream(context: Context, wanted: Around) -> Answer:
    """What it feeds."""
    return await _answer(context, wanted, upstream=False)


async def _answer(context: Context, wanted: Around, *, upstream: bool) -> Answer:
    thing = await find_place(context.session, wanted.of)
    starts = await _starts(context, thing, upstream=upstream)
    found: dict[int, ReachedAddress] = {}
    total = 0
    # The status is read of this many addresses at most, the nearest first.
    page = Page(limit=300)
    for start in starts[:10]:
        reach = await read_reach(context.session, start.id, page, wanted.hops, upstream=upstream)
        total = max(total, reach.total)
        for address in reach.addresses:
            known = found.get(address.id)
            found[address.id] = address if known is None or address.depth < known.depth else known
    statuses = await read_address_statuses(context.session, [*found, *(start.id for start in starts)])
    answer = Answer(f"{'upstream' if upstream else 'downstream'} of {thing}:")
    if thing.kind == "pipeline":
        lines = [f"{start} is {statuses[start.id]}" for start in starts]
        answer.rows("It reads" if upstream else "It writes", lines, narrow="get_pipeline", most=1_200)
    nearest = sorted(found.values(), key=lambda address: (address.depth, address.id))
    counts = Counter(statuses[address.id] for address in nearest)
    answer.say(f"By status: {', '.join(f'{status} {count:,}' for status, count in sorted(counts.items())) or 'none'}")
    bad = [_line(context, each, statuses[each.id]) for each in nearest if statuses[each.id] in WRONG]
    well = [_line(context, each, statuses[each.id]) for each in nearest if statuses[each.id] not in WRONG]
    narrow, total = "narrow it by hops", len(well) + max(0, total - len(found))
    answer.rows("Not well, nearest first", bad, narrow=narrow, most=3_500)
    answer.rows("Well or unknown, nearest first", well, total=total, narrow=narrow, most=2_000)
    return answer


async def _starts(context: Context, thing: Thing, *, upstream: bool) -> list[Thing]:
    if thing.kind == "address":
        return [thing]
    sources, targets = await read_places(context.session, thing.id)
    return [Thing("address", place.id, place.name) for place in (sources if upstream else targets).rows]


def _line(context: Context, address: ReachedAddress, status: Status) -> str:
    writers = [f"pipeline {one.id} {quoted(one.name, 80)}" for one in address.pipelines[:3]]
    more = len(address.pipelines) - len(writers)
    written = f"; written by {', '.join(writers)}{f' and {more:,} more' if more > 0 else ''}" if writers else ""
    return (
        f"{plural(address.depth, 'hop')}: address {address.id} {quoted(address.name, 100)} is {status}{written}; "
        f"{context.address(address.id)}"
    )
