-- The warehouse of the demo: what the pipelines really load. Staging tables have the columns of their CSV file.
CREATE SCHEMA IF NOT EXISTS demo_flights;

CREATE TABLE IF NOT EXISTS demo_flights.staging_airlines (
    carrier text PRIMARY KEY,
    name text NOT NULL
);

CREATE TABLE IF NOT EXISTS demo_flights.staging_airports (
    faa text PRIMARY KEY,
    name text NOT NULL,
    lat double precision,
    lon double precision,
    alt integer,
    tz double precision,
    dst text,
    tzone text
);

CREATE TABLE IF NOT EXISTS demo_flights.staging_planes (
    tailnum text PRIMARY KEY,
    year integer,
    type text,
    manufacturer text,
    model text,
    engines integer,
    seats integer,
    speed integer,
    engine text
);

CREATE TABLE IF NOT EXISTS demo_flights.staging_weather (
    origin text NOT NULL,
    year integer NOT NULL,
    month integer NOT NULL,
    day integer NOT NULL,
    hour integer NOT NULL,
    temp double precision,
    dewp double precision,
    humid double precision,
    wind_dir integer,
    wind_speed double precision,
    wind_gust double precision,
    precip double precision,
    pressure double precision,
    visib double precision,
    time_hour timestamptz NOT NULL
);
CREATE INDEX IF NOT EXISTS staging_weather_day ON demo_flights.staging_weather (year, month, day, origin);

CREATE TABLE IF NOT EXISTS demo_flights.staging_flights (
    year integer NOT NULL,
    month integer NOT NULL,
    day integer NOT NULL,
    dep_time integer,
    sched_dep_time integer NOT NULL,
    dep_delay integer,
    arr_time integer NOT NULL,
    sched_arr_time integer NOT NULL,
    arr_delay integer,
    carrier text NOT NULL,
    flight integer NOT NULL,
    tailnum text,
    origin text NOT NULL,
    dest text NOT NULL,
    air_time integer,
    distance integer NOT NULL,
    hour integer NOT NULL,
    minute integer NOT NULL,
    time_hour timestamptz NOT NULL
);
CREATE INDEX IF NOT EXISTS staging_flights_load
    ON demo_flights.staging_flights (year, month, day, carrier, origin);

CREATE TABLE IF NOT EXISTS demo_flights.flights (
    flight_date date NOT NULL,
    carrier text NOT NULL,
    airline text,
    flight integer NOT NULL,
    origin text NOT NULL,
    destination text NOT NULL,
    destination_name text,
    tail_number text,
    plane_model text,
    scheduled_hour timestamptz NOT NULL,
    departure_delay_minutes integer,
    arrival_delay_minutes integer,
    air_time_minutes integer,
    distance_miles integer NOT NULL
);
CREATE INDEX IF NOT EXISTS flights_load ON demo_flights.flights (flight_date, carrier, origin);

CREATE TABLE IF NOT EXISTS demo_flights.mart_daily_performance (
    flight_date date NOT NULL,
    carrier text NOT NULL,
    airline text,
    origin text NOT NULL,
    flights integer NOT NULL,
    flights_late integer NOT NULL,
    mean_arrival_delay_minutes numeric(8, 2),
    PRIMARY KEY (flight_date, carrier, origin)
);

CREATE TABLE IF NOT EXISTS demo_flights.mart_weather_delays (
    flight_date date NOT NULL,
    origin text NOT NULL,
    flights integer NOT NULL,
    mean_departure_delay_minutes numeric(8, 2),
    strongest_gust_mph double precision,
    precipitation_inches numeric(6, 2),
    least_visibility_miles double precision,
    PRIMARY KEY (flight_date, origin)
);

-- The scheduler's own memory: which execution of the daily load ran for a day.
CREATE TABLE IF NOT EXISTS demo_flights.nightly_run (
    flight_date date NOT NULL,
    execution_id bigint NOT NULL,
    PRIMARY KEY (flight_date, execution_id)
);
