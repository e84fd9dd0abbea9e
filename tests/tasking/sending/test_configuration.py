"""What beat schedules and where it goes, and how long the broker waits for a worker."""

from hypothesis import given
from hypothesis import strategies as st

from watcher_server.settings import load_settings
from watcher_server.tasking.sending.configuration import (
    beat_schedule,
    celery_configuration,
    visibility_timeout_seconds,
)
from watcher_server.tasking.sending.task import retry_delay


def test_each_check_has_its_own_schedule_and_stays_out_of_the_main_queue() -> None:
    settings = load_settings(
        freshness_check_schedule="1 * * * *",
        timeliness_check_schedule="2 * * * *",
        timeliness_check_lookback_minutes=90,
    )

    entries = beat_schedule(settings).values()

    found = {entry["task"]: (min(entry["schedule"].minute), entry["kwargs"]) for entry in entries}
    assert found == {
        "freshness_check_task": (1, {}),
        "timeliness_check_task": (2, {"lookback_minutes": 90}),
        "schedule_check_task": (0, {}),
        "daily_metrics_task": (10, {}),
    }
    assert {entry["options"]["queue"] for entry in entries} == {"scheduled"}


def test_what_a_dying_worker_held_is_given_back() -> None:
    configuration = celery_configuration(load_settings())

    assert (configuration["task_acks_late"], configuration["task_reject_on_worker_lost"]) == (True, True)
    assert configuration["worker_prefetch_multiplier"] == 1
    assert not configuration["worker_cancel_long_running_tasks_on_connection_loss"]


def test_each_task_has_its_limits_of_time() -> None:
    configuration = celery_configuration(load_settings(task_time_limit_seconds=120))

    assert (configuration["task_soft_time_limit"], configuration["task_time_limit"]) == (115, 120)


@given(
    retries=st.integers(0, 100),
    delay=st.integers(1, 86_400),
    closure_delay=st.integers(1, 86_400),
    cap=st.integers(1, 86_400),
    limit=st.integers(20, 86_400),
)
def test_the_broker_waits_for_longer_than_any_back_off_and_run(
    retries: int, delay: int, closure_delay: int, cap: int, limit: int
) -> None:
    settings = load_settings(
        task_max_retries=retries,
        task_retry_delay_seconds=delay,
        closure_retry_delay_seconds=closure_delay,
        task_retry_delay_cap_seconds=cap,
        task_time_limit_seconds=limit,
    )

    longest = (
        max(retry_delay(tries, base, cap) for tries in range(retries) for base in (delay, closure_delay))
        if retries
        else 0
    )
    assert visibility_timeout_seconds(settings) > longest + limit
