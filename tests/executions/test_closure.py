"""The closure of the execution tree."""

import itertools

import httpx
import pytest
from sqlalchemy import Engine, text

from tests.support.factories import make_pipeline, start
from watcher_server.celery_tasks import pipeline_execution_closure_maintain_task as maintain


def closure(engine: Engine) -> set[tuple[int, int, int]]:
    with engine.connect() as connection:
        rows = connection.execute(
            text("SELECT parent_execution_id, child_execution_id, depth FROM pipeline_execution_closure")
        )
        return {(row[0], row[1], row[2]) for row in rows}


async def test_a_root_is_its_own_closure_at_once(client: httpx.AsyncClient, engine: Engine) -> None:
    root = await start(client, await make_pipeline(client))

    assert closure(engine) == {(root, root, 0)}


@pytest.mark.parametrize("order", list(itertools.permutations([2, 3, 4])))
async def test_it_is_whole_in_whatever_order_the_children_are_processed(
    client: httpx.AsyncClient, engine: Engine, order: tuple[int, ...]
) -> None:
    pipeline_id = await make_pipeline(client)
    await start(client, pipeline_id)
    for parent in (1, 2, 2):
        await start(client, pipeline_id, parent_id=parent)

    for child in order:
        maintain(execution_id=child, parent_id=None)

    selves = {(n, n, 0) for n in (1, 2, 3, 4)}
    assert closure(engine) == selves | {(1, 2, 1), (2, 3, 1), (2, 4, 1), (1, 3, 2), (1, 4, 2)}


async def test_a_second_run_writes_nothing(client: httpx.AsyncClient, engine: Engine) -> None:
    pipeline_id = await make_pipeline(client)
    root = await start(client, pipeline_id)
    child = await start(client, pipeline_id, parent_id=root)

    assert maintain(child, root) == {"rows_written": 1}
    assert maintain(child, root) == {"rows_written": 0}


def test_the_task_of_an_execution_that_is_gone_says_so(engine: Engine) -> None:
    assert engine

    assert maintain(execution_id=99, parent_id=98) == {"rows_written": 0, "skipped": "no such execution"}
