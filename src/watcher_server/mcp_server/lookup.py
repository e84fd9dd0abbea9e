"""From a name or an id, as people say it, to the one thing that is meant."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.addresses.models import Address
from watcher_server.addresses.service import search_addresses
from watcher_server.database.rows import find
from watcher_server.kit.errors import NotFoundError
from watcher_server.kit.fields import BIGINT_MAX
from watcher_server.kit.names import fold
from watcher_server.mcp_server.answer import quoted
from watcher_server.pipelines.models import Pipeline
from watcher_server.pipelines.service import search_names

_MOST_FOUND = 1_000
_MOST_NAMED = 10
_EITHER = "pipeline or address"


class Thing(NamedTuple):
    """A pipeline or an address."""

    kind: str
    id: int
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.id} {quoted(self.name)}"


class UnclearError(Exception):
    """Nothing, or more than one thing, has that name; the message says what does, and marks it as data."""


def words_of(text: str) -> list[str]:
    """The words of a name, whatever stands between them."""
    return [word for word in re.split(r"[\s_.\-/:]+", fold(text)) if word]


async def find_pipeline(session: AsyncSession, named: str) -> Thing:
    """The pipeline with this id or this name, or the only one whose name has all these words.

    Raises:
        UnclearError: there is none, or more than one.
    """
    by_id = re.fullmatch(r"(?:pipeline )?#?(\d{1,19})", named, re.ASCII)
    if by_id and (thing := await _with_id(session, "pipeline", int(by_id[1]))):
        return thing
    found = await search_pipelines(session, named)
    exact = [each for each in found if fold(each.name) == fold(named)]
    return _only(exact or found, named, "pipeline")


async def find_place(session: AsyncSession, named: str) -> Thing:
    """The pipeline or address that is meant; of one of each, the address, because data flows between these.

    Raises:
        UnclearError: there is none, or more than one.
    """
    found = await find_things(session, named)
    addresses = [thing for thing in found if thing.kind == "address"]
    return _only(addresses if len(addresses) == 1 else found, named, _EITHER)


async def find_things(session: AsyncSession, named: str) -> list[Thing]:
    """The pipelines and addresses that may be meant, at most ten: by id, by the whole name, else by their words.

    Raises:
        UnclearError: there is none, or there are more.
    """
    by_id = re.fullmatch(r"(pipeline|address) #?(\d{1,19})", named, re.ASCII)
    if by_id and (thing := await _with_id(session, by_id[1], int(by_id[2]))):
        return [thing]
    addresses, _ = await search_addresses(session, " ".join(words_of(named)), _MOST_FOUND)
    found = await search_pipelines(session, named)
    found += [Thing("address", row.id, row.name) for row in addresses]
    found = [each for each in found if fold(each.name) == fold(named)] or found
    if not 1 <= len(found) <= _MOST_NAMED:
        _only(found, named, _EITHER)
    return found


async def _with_id(session: AsyncSession, kind: str, id_: int) -> Thing | None:
    if id_ > BIGINT_MAX:
        return None
    try:
        row = await (find(session, Pipeline, id_) if kind == "pipeline" else find(session, Address, id_))
    except NotFoundError:
        return None
    return Thing(kind, row.id, row.name)


async def search_pipelines(session: AsyncSession, named: str) -> list[Thing]:
    """The pipelines whose names contain all the words, at most a thousand, short names first; none for no word."""
    words = words_of(named)
    if not words:
        return []
    return [Thing("pipeline", id_, name) for id_, name in (await search_names(session, words, _MOST_FOUND)).items()]


def _only(found: Sequence[Thing], named: str, kind: str) -> Thing:
    if len(found) == 1:
        return found[0]
    if not found:
        raise UnclearError(f"No {kind} is named {quoted(named)}; the tool `search` finds names by their words.")
    shown = "; ".join(str(thing) for thing in found[:_MOST_NAMED])
    more = f" and {len(found) - _MOST_NAMED:,} more" if len(found) > _MOST_NAMED else ""
    raise UnclearError(
        f"{len(found):,} are named like {quoted(named)}, narrow it by the whole name or the id: {shown}{more}"
    )
