"""What all events of one run say together, in whatever order they come and however often.

A state is a value that only grows: each part keeps the least, the greatest or the union of what was said, so joining
is commutative, associative and idempotent (a join-semilattice; Shapiro et al., *Conflict-free Replicated Data Types*,
2011), and the state follows from the set of events alone. States are plain JSON. Moments are microseconds since 1970.

===========  ==========================================================================================
part         what it holds
===========  ==========================================================================================
``start``    the least moment of a START or RUNNING
``first``    the least moment of all, ``last`` the greatest
``ahead``    by how much the sender's clock was ahead at most, measured when an event arrived
``marks``    the latest starts and ends, as [moment, type]
``recent``   the latest moments of a stream
``facets``   of the run and its job: for each name the newest as [moment, whether the event ended the run, value]
``inputs``   by key: the name ``n``, the facets ``f``, and ``t``, the last event that named it; ``outputs`` too
``seen``     a digest of each event; null once there are more than ``MOST_COUNTED``
===========  ==========================================================================================
"""

import json
from collections.abc import Iterable, Mapping
from functools import reduce
from typing import Any, Final

State = dict[str, Any]
Facet = list[Any]

MOST_COUNTED: Final = 100
MOST_MARKS: Final = 200
MOST_DATASETS: Final = 10_000
MOST_RECENT: Final = 20


def newer(facet: Facet, other: Facet) -> Facet:
    """The facet of the later event; at one moment that of an end, and of two of these the greater JSON text."""
    if facet[:2] != other[:2]:
        return facet if facet[:2] > other[:2] else other
    if facet[2] == other[2]:
        return facet
    return max(facet, other, key=lambda one: json.dumps(one[2], sort_keys=True))


def join_facets(facets: Mapping[str, Facet], others: Mapping[str, Facet]) -> dict[str, Facet]:
    """The newest of each name."""
    if not facets or not others:
        return dict(facets or others)
    joined = dict(facets)
    for name, facet in others.items():
        joined[name] = newer(joined[name], facet) if name in joined else facet
    return joined


def join(state: State, other: State) -> State:
    """What two sets of events of one run say together."""
    recent, others = state["recent"], other["recent"]
    return {
        "start": min((start for start in (state["start"], other["start"]) if start is not None), default=None),
        "first": min(state["first"], other["first"]),
        "last": max(state["last"], other["last"]),
        "ahead": max(state["ahead"], other["ahead"]),
        "marks": _join_marks(state["marks"], other["marks"]),
        "recent": sorted({*recent, *others})[-MOST_RECENT:] if recent and others else recent or others,
        "facets": join_facets(state["facets"], other["facets"]),
        "inputs": _join_datasets(state["inputs"], other["inputs"]),
        "outputs": _join_datasets(state["outputs"], other["outputs"]),
        "seen": _join_seen(state["seen"], other["seen"]),
    }


def join_all(states: Iterable[State]) -> State:
    """What several states say together; there is one at least."""
    return reduce(join, states)


def facet_of(state: State, name: str) -> Any:
    """The newest value of a facet of the run or its job; None where there is none, or it was removed."""
    return value_in(state["facets"], name)


def value_in(facets: Mapping[str, Facet], name: str) -> Any:
    """The value of one of these facets; None where there is none, or it was removed."""
    facet = facets.get(name)
    return None if facet is None else value_of(facet)


def value_of(facet: Facet) -> Any:
    """The value of a facet; None where it was removed."""
    value = facet[2]
    return None if isinstance(value, dict) and value.get("_deleted") is True else value


def is_streaming(facets: Mapping[str, Facet]) -> bool:
    """Whether these are of a run that is to go on for ever."""
    kind = (value_in(facets, "jobType") or {}).get("processingType")
    return (kind or "").strip().upper() in {"STREAMING", "SERVICE"}


def _join_marks(marks: list[list[int]], others: list[list[int]]) -> list[list[int]]:
    if marks == others or not others:
        return marks
    return [list(mark) for mark in sorted({tuple(mark) for mark in (*marks, *others)})][-MOST_MARKS:]


def _join_datasets(datasets: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    if not datasets or not others:
        return dict(datasets or others)
    joined = dict(datasets)
    for key, other in others.items():
        known, joined[key] = joined.get(key), other
        if known is not None:
            joined[key] = {"n": other["n"], "f": join_facets(known["f"], other["f"]), "t": max(known["t"], other["t"])}
    # The least keys, so that the same ones stay in whatever order they came.
    return joined if len(joined) <= MOST_DATASETS else {key: joined[key] for key in sorted(joined)[:MOST_DATASETS]}


def _join_seen(seen: list[str] | None, others: list[str] | None) -> list[str] | None:
    if seen is None or others is None:
        return None
    joined = sorted({*seen, *others})
    return joined if len(joined) <= MOST_COUNTED else None
