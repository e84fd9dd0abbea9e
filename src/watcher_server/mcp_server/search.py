"""What is named by some words."""

from watcher_server.addresses.service import search_addresses
from watcher_server.database.asking import ask
from watcher_server.incidents.reading import IncidentFilter, WantedState, count_incidents, list_incidents
from watcher_server.kit.listing import Page
from watcher_server.lineage.status import read_address_statuses
from watcher_server.mcp_server.answer import Answer, quoted
from watcher_server.mcp_server.arguments import Search
from watcher_server.mcp_server.context import Context
from watcher_server.mcp_server.incidents import head
from watcher_server.mcp_server.lookup import search_pipelines, words_of
from watcher_server.pipelines.status import read_conditions

_MOST_LISTED = 20
_NARROW = "narrow it by more words"


async def answer_search(context: Context, wanted: Search) -> Answer:
    """Pipelines, addresses and open incidents whose names have all the words, and how each does."""
    answer = Answer(f"Named like {quoted(wanted.text)}:")
    await _say_pipelines(context, answer, wanted.text)
    await _say_addresses(context, answer, wanted.text)
    filter_ = IncidentFilter(state=WantedState.LIVE, q=wanted.text)
    incidents = await ask(context.session, list_incidents, filter_, Page(limit=_MOST_LISTED))
    total = await ask(context.session, count_incidents, filter_)
    lines = [f"{head(incident)}; {context.incident(incident.id)}" for incident in incidents]
    answer.rows("Open incidents", lines, total=total, narrow=_NARROW, most=2_000)
    return answer


async def _say_pipelines(context: Context, answer: Answer, text: str) -> None:
    found = await search_pipelines(context.session, text)
    shown = found[:_MOST_LISTED]
    conditions = await read_conditions(context.session, [pipeline.id for pipeline in shown])
    lines = [
        f"{pipeline} is {conditions[pipeline.id].status}; {context.pipeline(pipeline.id)}"
        for pipeline in shown
        if pipeline.id in conditions
    ]
    answer.rows("Pipelines", lines, total=len(found), narrow=_NARROW, most=2_500)


async def _say_addresses(context: Context, answer: Answer, text: str) -> None:
    found, has_more = await search_addresses(context.session, " ".join(words_of(text)), _MOST_LISTED)
    statuses = await read_address_statuses(context.session, [address.id for address in found])
    lines = [
        f"address {address.id} {quoted(address.name)} ({quoted(address.type_name, 50)}) is {statuses[address.id]}; "
        f"{context.address(address.id)}"
        for address in found
    ]
    answer.rows("Addresses", lines, narrow=_NARROW, most=2_500)
    if has_more:
        answer.say(f"There are more addresses than these: {_NARROW}.")
