"""The flights of 2013 as the demo reads them."""

import importlib.util
from datetime import date

import pytest

from watcher_server.demo.data import (
    Departures,
    FlightYear,
    find_data_folder,
    read_airline_names,
    read_flights,
)
from watcher_server.demo.errors import DemoError


@pytest.fixture(scope="module")
def flights() -> FlightYear:
    return read_flights(find_data_folder())


def test_the_year_has_35_pipelines_and_11864_loads_of_328063_arrived_flights(flights: FlightYear) -> None:
    loads = [lines for day in flights.days.values() for lines in day.values()]
    assert len(flights.days) == 365
    assert len(flights.departures()) == 35
    assert len(loads) == 11_864
    assert sum(len(lines) for lines in loads) == 328_063


def test_departures_that_were_all_cancelled_are_a_load_without_rows(flights: FlightYear) -> None:
    assert sum(not lines for day in flights.days.values() for lines in day.values()) == 15


def test_a_day_without_scheduled_flights_is_no_load(flights: FlightYear) -> None:
    virgin_newark = Departures("VX", "EWR")
    assert virgin_newark not in flights.days[date(2013, 4, 1)]
    assert virgin_newark in flights.days[date(2013, 4, 2)]


def test_a_line_is_the_one_of_the_file(flights: FlightYear) -> None:
    first = flights.days[date(2013, 1, 1)][Departures("UA", "EWR")][0]
    assert first == "2013,1,1,517,515,2,830,819,11,UA,1545,N14228,EWR,IAH,227,1400,5,15,2013-01-01T10:00:00Z"


def test_the_longest_gap_is_that_between_days_with_arrivals(flights: FlightYear) -> None:
    assert flights.longest_gap_days(Departures("UA", "EWR")) == 1
    assert flights.longest_gap_days(Departures("OO", "LGA")) > 200


def test_every_carrier_has_a_name(flights: FlightYear) -> None:
    names = read_airline_names(find_data_folder())
    assert {departures.carrier for departures in flights.departures()} <= names.keys()


def test_a_missing_package_is_one_sentence_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(DemoError, match="its extra `demo`"):
        find_data_folder()
