"""How each tool is told to send its events: the lines, with the address of this Watcher."""

from collections.abc import Sequence
from typing import NamedTuple

from watcher_server.openlineage import EVENT_PATH


class Lines(NamedTuple):
    """Lines to copy, and where they go."""

    where: str
    text: str


class Recipe(NamedTuple):
    """What one tool needs."""

    key: str
    title: str
    about: str
    lines: Sequence[Lines]


def python_url(base: str) -> str:
    """The address for a Python client: it drops the last part of a path that does not end with a slash."""
    return f"{base}/" if _has_path(base) else base


def java_url(base: str) -> str:
    """The address for a Java client: it adds its own path to an address without one, and takes any other as it is."""
    return f"{base}{EVENT_PATH}" if _has_path(base) else base


def _has_path(base: str) -> bool:
    return "/" in base.partition("://")[2]


def recipes(base: str, token: str) -> Sequence[Recipe]:
    """The lines of each tool.

    Args:
        base: the address of this Watcher, without a slash at its end.
        token: that the lines show.
    """
    filled = {"url": python_url(base), "java": java_url(base), "post": f"{base}{EVENT_PATH}", "token": token}
    return [
        Recipe(key, title, about, [Lines(where, lines.strip() % filled) for where, lines in parts])
        for key, title, about, parts in _RECIPES
    ]


def trial(base: str, token: str) -> str:
    """A command that sends one event, of a run of the job ``trial`` in the namespace ``demo``."""
    return _TRIAL.strip() % {"post": f"{base}{EVENT_PATH}", "token": token}


_RECIPES = (
    (
        "airflow",
        "Airflow",
        "Airflow 2.7 and newer. The namespace is what tells two Airflows apart.",
        (
            ("Where the scheduler and the workers run", "pip install apache-airflow-providers-openlineage"),
            (
                "In their environment",
                """
OPENLINEAGE_URL=%(url)s
OPENLINEAGE_API_KEY=%(token)s
AIRFLOW__OPENLINEAGE__NAMESPACE=prod
""",
            ),
        ),
    ),
    (
        "dbt",
        "dbt",
        "dbt-ol is called as dbt. With --consume-structured-logs it names jobs differently: use it always or never.",
        (
            ("Once", "pip install openlineage-dbt"),
            (
                "In place of dbt build",
                """
export OPENLINEAGE_URL=%(url)s
export OPENLINEAGE_API_KEY=%(token)s
export OPENLINEAGE_NAMESPACE=dbt
dbt-ol build
""",
            ),
        ),
    ),
    (
        "spark",
        "Spark",
        "The package for Scala 2.12 is openlineage-spark_2.12. Take the newest version that there is.",
        (
            (
                "When a job is submitted; or without --conf, in spark-defaults.conf",
                """
spark-submit \\
  --packages io.openlineage:openlineage-spark_2.13:1.54.0 \\
  --conf spark.extraListeners=io.openlineage.spark.agent.OpenLineageSparkListener \\
  --conf spark.openlineage.transport.type=http \\
  --conf spark.openlineage.transport.url=%(java)s \\
  --conf spark.openlineage.transport.auth.type=api_key \\
  --conf spark.openlineage.transport.auth.apiKey=%(token)s \\
  --conf spark.openlineage.namespace=spark \\
  job.py
""",
            ),
        ),
    ),
    (
        "flink",
        "Flink",
        "Flink 2. The jar openlineage-flink lies in the classpath of the job manager.",
        (
            (
                "In config.yaml of Flink",
                """
execution.job-status-changed-listeners: io.openlineage.flink.listener.OpenLineageJobStatusChangedListenerFactory
openlineage.transport.type: http
openlineage.transport.url: %(java)s
openlineage.transport.auth.type: api_key
openlineage.transport.auth.apiKey: %(token)s
openlineage.trackingIntervalInSeconds: 60
""",
            ),
        ),
    ),
    (
        "dagster",
        "Dagster",
        "The sensor reads Dagster's own log of events, which must be one table, as with PostgreSQL. Switch it on once.",
        (
            ("Once", "pip install dagster-openlineage"),
            (
                "In the environment of the daemon",
                """
OPENLINEAGE_URL=%(url)s
OPENLINEAGE_API_KEY=%(token)s
OPENLINEAGE_NAMESPACE=dagster
""",
            ),
            (
                "In the definitions",
                """
from dagster import Definitions
from dagster_openlineage import openlineage_sensor

defs = Definitions(
    assets=[...],
    sensors=[openlineage_sensor(include_asset_events=True, minimum_interval_seconds=30, record_filter_limit=1_000)],
)
""",
            ),
        ),
    ),
    (
        "python",
        "Python",
        "Any program, and every other tool that is built on this client. A run has a start and an end.",
        (
            (
                "Once",
                """
pip install openlineage-python
export OPENLINEAGE_URL=%(url)s
export OPENLINEAGE_API_KEY=%(token)s
""",
            ),
            (
                "In the program",
                """
from datetime import datetime, timezone

from openlineage.client import OpenLineageClient
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.uuid import generate_new_uuid

client = OpenLineageClient()
run, job = Run(str(generate_new_uuid())), Job("demo", "load orders")


def report(state, **datasets):
    now = datetime.now(timezone.utc).isoformat()
    client.emit(RunEvent(eventTime=now, run=run, job=job, eventType=state, producer="my-loader", **datasets))


report(RunState.START)
report(
    RunState.COMPLETE,
    inputs=[InputDataset("postgres://shop:5432", "shop.public.orders")],
    outputs=[OutputDataset("postgres://wh:5432", "wh.sales.orders")],
)
""",
            ),
        ),
    ),
)

_TRIAL = """
curl -i -X POST %(post)s \\
  -H "Authorization: Bearer %(token)s" -H "Content-Type: application/json" \\
  -d "{\\"eventType\\": \\"COMPLETE\\", \\"eventTime\\": \\"$(date -u +%%FT%%TZ)\\",
       \\"run\\": {\\"runId\\": \\"trial $(date +%%s)\\"},
       \\"job\\": {\\"namespace\\": \\"demo\\", \\"name\\": \\"trial\\"}}"
"""
