"""``watcher tasks``: what became of tasks, and running failed ones again."""

import sys

from pydantic import ValidationError

from watcher_server.cli.databases import command_transaction
from watcher_server.cli.errors import CommandError
from watcher_server.cli.tasks_view import render_list, render_task
from watcher_server.cli.terminal import console
from watcher_server.kit.terminal import typeable
from watcher_server.kit.text import escape_controls
from watcher_server.tasking.history import service
from watcher_server.tasking.history.schemas import TaskQuery
from watcher_server.tasking.history.states import TaskState


def show_all(state: TaskState | None, name: str | None, pipeline: int | None, limit: int) -> None:
    """Print a table of the newest tasks.

    Raises:
        CommandError: no task could have such a name, or no pipeline such an id.
    """
    try:
        query = TaskQuery(state=state, name=name, pipeline_id=pipeline, limit=limit)
    except ValidationError as error:
        first = error.errors()[0]
        option = str(first["loc"][0]).removesuffix("_id")
        raise CommandError(f"--{option} cannot be that: {first['msg'].removeprefix('Value error, ')}.") from None
    with command_transaction() as connection:
        page = service.list_tasks(connection, query)
    if not page.tasks:
        if (state, name, pipeline) == (None, None, None):
            _say(
                "There is no task yet: the end of a run makes one, and so does each scheduled check while "
                "`watcher up` runs."
            )
        else:
            _say("No task is like that: `watcher tasks list` without options shows the newest of all.")
        return
    out = console()
    out.print(render_list(page.tasks, out.width))
    if page.next_offset is not None:
        _say("There are more: raise --limit, or narrow the list with --state, --name or --pipeline.")


def show_one(task_id: str) -> None:
    """Print everything about a task.

    Raises:
        CommandError: there is no such task.
    """
    with command_transaction() as connection:
        task = service.find_task(connection, task_id)
    console().print(render_task(task))


def retry(task_id: str | None, name: str | None, *, all_failed: bool) -> None:
    """Run one failed task again, or all of them.

    Raises:
        CommandError: not exactly one of both is given, there is no such task, or it did not fail.
    """
    if (task_id is not None) == all_failed:
        raise CommandError("Say which tasks to run again: either the id of one, or --all-failed.")
    if task_id is not None:
        if name is not None:
            raise CommandError("--name goes with --all-failed: the id of a task is enough to run it again.")
        with command_transaction() as connection:
            task = service.retry_task(connection, task_id)
        _say(f"{task.name} will run again: `watcher tasks show {task.id}` says how it goes.")
        return
    with command_transaction() as connection:
        retried = service.retry_failed(connection, name)
    if retried == 0:
        of_name = "" if name is None else f" of the name {name}"
        _say(f"There is no failed task{of_name}, so none runs again.")
    else:
        _say(f"{retried:,} failed task{' runs' if retried == 1 else 's run'} again.")


def _say(sentence: str) -> None:
    sys.stdout.write(f"{escape_controls(typeable(sentence))}\n")
