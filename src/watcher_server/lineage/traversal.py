"""The traversal of edges in memory: the closure, its rebuilds and the pages measure distances with it."""

from collections.abc import Iterable, Mapping, Sequence

# The targets of each source, in the order of their ids.
Graph = Mapping[int, Sequence[int]]


def traverse(graph: Graph, starts: Iterable[int]) -> dict[int, int]:
    """Each address that the starts reach, nearest first, with the address before it; a start has itself.

    Following the addresses before gives one of the shortest paths. From one start, it is the first of them in the order
    of ids, because the traversal takes addresses of one distance in the order of their own first paths.
    """
    came_from = {start: start for start in starts}
    queue = list(came_from)
    for here in queue:
        for there in graph.get(here, ()):
            if there not in came_from:
                came_from[there] = here
                queue.append(there)
    return came_from


def distances(graph: Graph, start: int) -> dict[int, int]:
    """How many edges lie between the start and each address that it reaches."""
    distance = {start: 0}
    for address, before in traverse(graph, [start]).items():
        if address != start:
            distance[address] = distance[before] + 1
    return distance


def reverse(graph: Graph) -> dict[int, list[int]]:
    """The same edges, from target to source."""
    reversed_graph: dict[int, list[int]] = {}
    for source, targets in graph.items():
        for target in targets:
            reversed_graph.setdefault(target, []).append(source)
    return reversed_graph
