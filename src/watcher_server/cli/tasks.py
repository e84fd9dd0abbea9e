"""``watcher tasks``: what became of tasks, and running failed ones again."""

from typing import Annotated

import typer

from watcher_server.cli.databases import command_transaction
from watcher_server.cli.errors import CommandError
from watcher_server.cli.given import read_options
from watcher_server.cli.groups import new_group
from watcher_server.cli.options import Limit
from watcher_server.cli.tasks_view import render_list, render_task
from watcher_server.cli.terminal import console, say
from watcher_server.tasking.history import service
from watcher_server.tasking.history.schemas import TaskQuery
from watcher_server.tasking.history.states import TaskState

app = new_group()


@app.command("list")
def list_tasks(
    *,
    state: Annotated[TaskState | None, typer.Option(case_sensitive=False, help="Only those in this state.")] = None,
    name: Annotated[str | None, typer.Option(help="Only those of this task, such as detect_anomalies_task.")] = None,
    pipeline: Annotated[int | None, typer.Option(help="Only those of the pipeline with this id.")] = None,
    limit: Limit = 50,
) -> None:
    """List tasks, the newest first.

    What failed, and why: watcher tasks list --state failure
    """
    given = {"state": state, "name": name, "pipeline_id": pipeline, "limit": limit}
    query = read_options(TaskQuery, given, {"pipeline_id": "--pipeline"})
    with command_transaction() as connection:
        page = service.list_tasks(connection, query)
    if not page.tasks:
        if (state, name, pipeline) == (None, None, None):
            say(
                "There is no task yet: the end of a run makes one, and so does each scheduled check while "
                "`watcher up` runs."
            )
        else:
            say("No task is like that: `watcher tasks list` without options shows the newest of all.")
        return
    out = console()
    out.print(render_list(page.tasks, out.width))
    if page.next_offset is not None:
        say("There are more: raise --limit, or narrow the list with --state, --name or --pipeline.")


@app.command("show")
def show_task(task_id: Annotated[str, typer.Argument(metavar="ID", help="As the list shows it.")]) -> None:
    """Show everything about a task: arguments, times, failed tries, traceback."""
    with command_transaction() as connection:
        task = service.find_task(connection, task_id)
    console().print(render_task(task))


@app.command("retry")
def retry_tasks(
    *,
    task_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="The failed task to run again.")] = None,
    all_failed: Annotated[bool, typer.Option("--all-failed", help="All of them.")] = False,
    name: Annotated[str | None, typer.Option(help="With --all-failed: only those of this task.")] = None,
) -> None:
    """Run failed tasks again, under the same ids and with the same arguments."""
    if (task_id is not None) == all_failed:
        raise CommandError("Say which tasks to run again: either the id of one, or --all-failed.")
    if task_id is not None:
        if name is not None:
            raise CommandError("--name goes with --all-failed: the id of a task is enough to run it again.")
        with command_transaction() as connection:
            task = service.retry_task(connection, task_id)
        say(f"{task.name} will run again: `watcher tasks show {task.id}` says how it goes.")
        return
    with command_transaction() as connection:
        retried = service.retry_failed(connection, name)
    if retried == 0:
        of_name = "" if name is None else f" of the name {name}"
        say(f"There is no failed task{of_name}, so none runs again.")
    else:
        say(f"{retried:,} failed task{' runs' if retried == 1 else 's run'} again.")
