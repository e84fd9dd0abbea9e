"""Which subjects of a check are told in one message: those that go to the same people, in the groups of the routes."""

from collections.abc import Hashable, Sequence

from sqlalchemy import Connection

from watcher_server.alerts.routing.book import read_book
from watcher_server.alerts.routing.deciding import group_text
from watcher_server.alerts.routing.facts import About, read_facts


def group_subjects(connection: Connection, subjects: Sequence[About], *, kind: str, level: str) -> list[Hashable]:
    """For each subject the group that it is told in; those of one root are told together, in the group of the first."""
    book = read_book(connection)
    if book.is_classic:
        return [None for _ in subjects]
    of_root: dict[int, Hashable] = {}
    found: list[Hashable] = []
    for facts in read_facts(connection, subjects, kind=kind, level=level):
        group: Hashable = tuple((route.name, group_text(route, facts)) for route in book.taken_by(facts))
        found.append(group if facts.root is None else of_root.setdefault(facts.root, group))
    return found
