"""The seasonal method: what it expects of series with daily and weekly cycles, and what it finds in the table."""

import math
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, text

from tests.support.rows import add_pipeline, add_rule
from watcher_server.anomalies.detection import detect_anomalies
from watcher_server.anomalies.forecasting import forecast
from watcher_server.anomalies.recording import Anomaly
from watcher_server.anomalies.seasonal import Band, Observation

Judge = Callable[[int, int], list[Anomaly]]
MONDAY = datetime(2026, 3, 2, tzinfo=UTC)


def rows_of(moment: datetime) -> float:
    """A load that peaks in the afternoon and is a third on weekends, with 5% of noise that is the same each time."""
    daily = 1000 + 600 * math.sin(2 * math.pi * (moment.hour - 6) / 24)
    weekly = 1.0 if moment.weekday() < 5 else 0.33
    return daily * weekly * (1 + random.Random(moment.timestamp()).gauss(0, 0.05))  # noqa: S311 - noise is no secret


def hourly(days: int, *, change: Callable[[datetime, float], float] = lambda _, value: value) -> list[Observation]:
    moments = [MONDAY + timedelta(hours=hour) for hour in range(24 * days)]
    return [Observation(moment, change(moment, rows_of(moment))) for moment in moments]


def band_after(history: list[Observation], hours: int = 0) -> tuple[Band, float]:
    """The band of a run so many hours after the last, and what that run would have loaded."""
    at = history[-1].started_at + timedelta(hours=1 + hours)
    found = forecast(history, at)
    assert found is not None
    return found.band(3.0), rows_of(at)


@pytest.mark.parametrize("hours", range(0, 168, 7))
def test_each_hour_of_the_week_has_a_band_of_its_own(hours: int) -> None:
    band, usual = band_after(hourly(28), hours)

    assert band.lower < usual < band.upper
    assert band.upper - band.lower < usual


def test_a_quiet_weekend_is_expected_and_a_quiet_weekday_is_not() -> None:
    saturday = hourly(26)
    monday = hourly(28)

    assert band_after(saturday, hours=14)[0].upper < 700
    assert band_after(monday, hours=14)[0].lower > 700


def test_anomalies_in_the_history_do_not_widen_the_band() -> None:
    clean, _ = band_after(hourly(28), hours=12)
    hit, _ = band_after(
        hourly(28, change=lambda at, value: 0 if at.day % 6 == 0 and at.hour == 12 else value), hours=12
    )

    assert hit.center == pytest.approx(clean.center, rel=0.1)
    assert hit.upper - hit.lower < 2 * (clean.upper - clean.lower)


def spiked(share: float) -> list[Observation]:
    """Four weeks in which this share of the runs, at any hour, loaded eight times as much."""
    dice = random.Random(7)  # noqa: S311 - the same runs each time
    return hourly(28, change=lambda _, value: 8 * value if dice.random() < share else value)


@pytest.mark.parametrize("hours", [3, 12, 40])
def test_a_few_runs_that_are_far_off_do_not_widen_the_band(hours: int) -> None:
    """They are a twentieth of the runs, more than the tail that the band is measured by."""
    clean, usual = band_after(hourly(28), hours)
    band, _ = band_after(spiked(0.05), hours)

    assert band.lower < usual < band.upper
    assert band.upper < 2 * clean.upper


def test_runs_that_are_often_far_off_are_expected() -> None:
    """An eighth of the runs is no accident: three a day would be flagged for ever."""
    band, usual = band_after(spiked(0.125), hours=12)

    assert band.upper > 5 * usual


@pytest.mark.parametrize("times", [0.0, 100.0])
def test_the_run_after_one_that_is_far_off_is_expected_where_it_was(times: float) -> None:
    clean, usual = band_after(hourly(28))
    last = MONDAY + timedelta(days=28, hours=-1)
    band, _ = band_after(hourly(28, change=lambda at, value: times * value if at == last else value))

    assert band.center == pytest.approx(clean.center, rel=0.03)
    assert band.lower < usual < band.upper


def test_a_lasting_change_becomes_the_new_level_by_itself() -> None:
    since = MONDAY + timedelta(days=21)
    band, usual = band_after(hourly(28, change=lambda at, value: 2 * value if at >= since else value))

    assert band.lower < 2 * usual < band.upper
    assert usual < band.lower


def test_counts_that_are_mostly_zero_have_no_band_below_zero() -> None:
    history = [Observation(run.started_at, 40.0 if index % 9 == 0 else 0.0) for index, run in enumerate(hourly(20))]
    band, _ = band_after(history)

    assert band.lower == 0
    assert math.isfinite(band.upper)


@pytest.mark.parametrize("value", [0.0, 1000.0, float(2**63 - 1)])
def test_a_constant_is_expected_again(value: float) -> None:
    band, _ = band_after([Observation(run.started_at, value) for run in hourly(10)])

    assert band.center == pytest.approx(value, rel=1e-6, abs=1e-6)


def test_it_learns_for_a_week_and_twenty_one_runs() -> None:
    assert forecast(hourly(6), MONDAY + timedelta(days=6)) is None
    assert forecast(hourly(7), MONDAY + timedelta(days=7)) is not None
    daily = hourly(30)[::24]
    assert forecast(daily[:20], daily[20].started_at) is None
    assert forecast(daily[:21], daily[21].started_at) is not None
    assert forecast([], MONDAY) is None


def fill(engine: Engine, minutes: int, days: int) -> tuple[int, list[int]]:
    """A pipeline with a seasonal rule and a run every so many minutes; its id and those of the runs."""
    runs = [MONDAY + timedelta(minutes=minutes * number) for number in range(days * 24 * 60 // minutes)]
    with engine.begin() as connection:
        pipeline_id = add_pipeline(connection)
        add_rule(connection, pipeline_id, method="seasonal", lookback_days=90)
        statement = text("""
            INSERT INTO pipeline_execution (pipeline_id, start_date, end_date, date_recorded, hour_recorded,
                completed_successfully, total_rows)
            SELECT :pipeline_id, at, at + interval '30 seconds', (at AT TIME ZONE 'UTC')::date,
                extract(hour FROM at AT TIME ZONE 'UTC'), true, value
            FROM unnest(CAST(:moments AS timestamptz[]), CAST(:values AS bigint[])) AS run (at, value)
            RETURNING id
        """)
        parameters = {
            "pipeline_id": pipeline_id,
            "moments": runs,
            "values": [round(rows_of(moment.replace(minute=0))) for moment in runs],
        }
        return pipeline_id, list(connection.scalars(statement, parameters))


def judge_with(engine: Engine, pipeline_id: int, execution_id: int, total_rows: int) -> list[Anomaly]:
    with engine.connect() as connection:
        update = text("UPDATE pipeline_execution SET total_rows = :rows WHERE id = :id")
        connection.execute(update, {"rows": total_rows, "id": execution_id})
        found = detect_anomalies(connection, pipeline_id, execution_id, alert_max_age_hours=24)
        connection.rollback()
    return found


@pytest.mark.parametrize("minutes", [60, 5], ids=["hourly", "every five minutes"])
def test_it_judges_by_the_hour_of_the_week(engine: Engine, minutes: int) -> None:
    """Every five minutes, 28 days are more runs than are looked at: one of each hour stands for all of it."""
    pipeline_id, runs = fill(engine, minutes, days=28)
    usual = round(rows_of(MONDAY + timedelta(days=27, hours=23)))

    assert judge_with(engine, pipeline_id, runs[-1], usual) == []
    assert [anomaly.metric for anomaly in judge_with(engine, pipeline_id, runs[-1], 3 * usual)] == ["total_rows"]
    assert [anomaly.metric for anomaly in judge_with(engine, pipeline_id, runs[-1], 0)] == ["total_rows"]


def test_it_gives_no_verdict_while_it_learns(engine: Engine) -> None:
    pipeline_id, runs = fill(engine, 60, days=5)

    assert judge_with(engine, pipeline_id, runs[-1], 0) == []
