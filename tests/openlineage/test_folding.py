"""A state is a function of the set of the events of a run."""

import json
from datetime import UTC, datetime
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.openlineage.events import one_event
from tests.support.openlineage import Event
from watcher_server.openlineage.envelope import read_envelope
from watcher_server.openlineage.folding import State, join, join_all
from watcher_server.openlineage.reading import read_event

RECEIVED = datetime(2026, 3, 2, tzinfo=UTC)


def state_of(event: Event) -> State:
    return read_event(read_envelope(event), RECEIVED).state


def same(state: State, other: State) -> bool:
    return json.dumps(state, sort_keys=True) == json.dumps(other, sort_keys=True)


states = one_event().map(state_of)


@given(states, states, states)
@settings(max_examples=150)
def test_joining_is_commutative_associative_and_idempotent(one: State, two: State, three: State) -> None:
    assert same(join(one, two), join(two, one))
    assert same(join(join(one, two), three), join(one, join(two, three)))
    assert same(join(one, one), one)
    assert same(join(join(one, two), two), join(one, two))


@given(st.lists(states, min_size=1, max_size=12), st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_shuffled_and_doubled_events_give_the_same_state(some: list[State], random: Random) -> None:
    shuffled = [*some, *some]
    random.shuffle(shuffled)
    assert same(join_all(some), join_all(shuffled))


@given(st.lists(states, min_size=1, max_size=6))
@settings(max_examples=40)
def test_a_stored_state_is_the_same_as_one_in_memory(some: list[State]) -> None:
    stored = some[0]
    for state in some[1:]:
        stored = json.loads(json.dumps(join(stored, state)))
    assert same(stored, join_all(some))
