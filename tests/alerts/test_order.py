"""What is said next, and what need not be said any more."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from watcher_server.alerts.backlog import MOST_OPENINGS, Backlog, Next, Storm, Waiting, choose


def waiting(number: int, *incidents: int, due: float = 1, held: bool = False, critical: bool = False) -> Waiting:
    """A notification that waits; ``due`` is since how many seconds it is due."""
    return Waiting(
        id=number,
        due_seconds=due,
        held=held,
        critical=critical,
        opening=False,
        refused=False,
        incidents=frozenset(incidents),
    )


def opening(number: int, due: float = 1) -> Waiting:
    """The opening of an incident of its own."""
    return replace(waiting(number, number, due=due), opening=True)


def following(*backlog: Waiting, told_openings: int = 0) -> Next | Storm | None:
    return choose(Backlog(backlog, told_openings))


def test_the_oldest_comes_first() -> None:
    assert following(waiting(1, 1), waiting(2, 2)) == Next(1)


def test_what_is_critical_comes_before_older_ones_of_other_incidents() -> None:
    assert following(waiting(1, 1), waiting(2, 2, critical=True)) == Next(2)


def test_what_comes_before_something_critical_of_its_incident_is_as_urgent() -> None:
    assert following(waiting(1, 1), waiting(2, 2), waiting(3, 2, critical=True)) == Next(2)


def test_what_waits_for_others_holds_back_what_is_later_of_its_incident_only() -> None:
    held_back = waiting(1, 1, due=-20)
    assert following(held_back, waiting(2, 1)) is None
    assert following(held_back, waiting(2, 1, 2), waiting(3, 2), waiting(4, 3)) == Next(4)


def test_what_is_about_nothing_waits_for_nothing() -> None:
    assert following(waiting(1, due=-20), waiting(2)) == Next(2)


def test_what_the_channel_held_back_becomes_the_newest_state_of_its_incident() -> None:
    assert following(*(waiting(number, 1, held=True) for number in (1, 2, 3))) == Next(3, [1, 2])


def test_in_normal_flow_each_is_said() -> None:
    assert following(waiting(1, 1), waiting(2, 1)) == Next(1)


def test_only_what_is_wholly_said_by_the_newest_need_not_be_said() -> None:
    two = waiting(1, 1, 2, held=True)
    assert following(two, waiting(2, 1, held=True)) == Next(1)
    assert following(two, waiting(2, 1, held=True), waiting(3, 1, 2, held=True)) == Next(3, [1, 2])


def test_a_message_that_the_channel_refused_or_that_is_not_due_says_nothing_for_others() -> None:
    first = waiting(1, 1, held=True)
    assert following(first, replace(waiting(2, 1, held=True), refused=True)) == Next(1)
    assert following(first, waiting(2, 1, due=-20)) == Next(1)


def test_more_openings_than_fifty_are_gathered() -> None:
    most = [opening(number) for number in range(1, MOST_OPENINGS + 1)]
    assert following(*most) == Next(1)
    assert following(*most, opening(99)) == Storm([*range(1, MOST_OPENINGS + 1), 99])


def test_after_fifty_that_were_told_openings_are_gathered_for_a_minute() -> None:
    assert following(opening(1, due=30), opening(2), told_openings=49) is None
    assert following(opening(1, due=61), opening(2), told_openings=49) == Storm([1, 2])
    assert following(opening(1, due=61), told_openings=50) == Next(1)


def test_what_is_no_opening_is_not_held_back_by_a_storm() -> None:
    assert following(opening(1), opening(2), waiting(3, 3), told_openings=50) == Next(3)


def test_an_incident_that_changed_since_it_opened_is_no_part_of_a_storm() -> None:
    most = [opening(number) for number in range(1, MOST_OPENINGS + 2)]
    chosen = following(*most, waiting(90, 7))
    assert chosen == Next(1)
    chosen = following(*most, opening(80), waiting(90, 7))
    assert isinstance(chosen, Storm)
    assert 7 not in chosen.ids


_backlogs = st.lists(
    st.builds(
        Waiting,
        id=st.just(0),
        due_seconds=st.sampled_from([-20.0, 1.0, 100.0]),
        held=st.booleans(),
        critical=st.booleans(),
        opening=st.booleans(),
        refused=st.booleans(),
        incidents=st.frozensets(st.integers(1, 4), max_size=3),
    ),
    max_size=12,
).map(lambda found: [replace(each, id=number) for number, each in enumerate(found, 1)])


@given(_backlogs)
def test_nothing_is_left_out_or_said_before_what_came_first(backlog: list[Waiting]) -> None:
    """Whatever waits: what is said is due, in order, and says all of what it is sent instead of."""
    by_id = {each.id: each for each in backlog}
    left = dict(by_id)
    while (chosen := choose(Backlog(list(left.values()), 0))) is not None:
        assert isinstance(chosen, Next)
        said = by_id[chosen.id]
        assert said.is_due
        merged = [by_id[number] for number in chosen.instead_of]
        assert all(each.incidents <= said.incidents and each.id < said.id for each in merged)
        earlier = [each for each in left.values() if each.id < said.id and each.incidents & said.incidents]
        assert {each.id for each in earlier} <= set(chosen.instead_of)
        for number in (chosen.id, *chosen.instead_of):
            del left[number]
    # What is left waits for its own time, or for something that does.
    assert not any(
        each.is_due and not any(other.id < each.id and other.incidents & each.incidents for other in left.values())
        for each in left.values()
    )
