"""What beat schedules, and where it goes."""

from watcher_server.queueing.configuration import celery_configuration
from watcher_server.settings import load_settings


def test_each_check_has_its_own_schedule_and_stays_out_of_the_main_queue() -> None:
    settings = load_settings(
        freshness_check_schedule="1 * * * *",
        timeliness_check_schedule="2 * * * *",
        celery_queue_health_check_schedule="3 * * * *",
        timeliness_check_lookback_minutes=90,
    )

    entries = celery_configuration(settings)["beat_schedule"].values()

    found = {entry["task"]: (min(entry["schedule"].minute), entry["kwargs"]) for entry in entries}
    assert found == {
        "freshness_check_task": (1, {}),
        "timeliness_check_task": (2, {"lookback_minutes": 90}),
        "celery_queue_health_check_task": (3, {}),
        "redeliver_alerts_task": (0, {}),
    }
    assert {entry["options"]["queue"] for entry in entries} == {"scheduled"}


def test_what_a_dying_worker_held_is_given_back() -> None:
    configuration = celery_configuration(load_settings())

    assert (configuration["task_acks_late"], configuration["task_reject_on_worker_lost"]) == (True, True)
