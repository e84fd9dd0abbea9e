"""``watcher rules``: which rule suits a metric, and what a rule would have flagged; asked of a server by HTTP."""

import json
import sys
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import httpx
import typer
from rich.table import Table

from watcher_server.cli.calling import call, json_of
from watcher_server.cli.errors import CommandError
from watcher_server.cli.groups import new_group
from watcher_server.cli.options import AsJson, Url, token_option
from watcher_server.cli.terminal import console, plain_table, say

app = new_group()

Metric = Literal["duration_seconds", "inserts", "updates", "soft_deletes", "total_rows", "throughput"]
Method = Literal["zscore", "mad", "seasonal"]
Seasonality = Literal["hour", "none", "weekday", "hour_of_week"]
Direction = Literal["both", "high", "low"]

PipelineId = Annotated[int, typer.Argument(metavar="PIPELINE", help="The id of the pipeline.")]
MetricName = Annotated[Metric, typer.Argument(help="The number to judge.")]
Token = Annotated[str | None, token_option("that may read")]


@app.command("suggest")
def suggest(
    pipeline_id: PipelineId, metric: MetricName, *, url: Url = None, token: Token = None, as_json: AsJson = False
) -> None:
    """Say which rule suits a metric, and why: by how often the pipeline runs, and what its past shows.

    For the rows of the pipeline with the id 12: watcher rules suggest 12 total_rows
    """
    found = _suggest(pipeline_id, metric, url, token)
    if as_json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return
    say(found["why"])
    shown = ("method", "seasonality", "lookback_days", "minimum_executions", "alarms_per_month")
    say(", ".join(f"{name}: {found['rule'][name]}" for name in shown))


@app.command("try")
def try_rule(
    pipeline_id: PipelineId,
    metric: MetricName,
    *,
    method: Annotated[Method | None, typer.Option(help="How the expected range is learnt.")] = None,
    seasonality: Annotated[Seasonality | None, typer.Option(help="Which runs are alike.")] = None,
    direction: Annotated[Direction | None, typer.Option(help="On which side a value is an anomaly.")] = None,
    alarms_per_month: Annotated[float | None, typer.Option(help="How often it may alarm, in place of --z.")] = None,
    z_threshold: Annotated[float | None, typer.Option("--z", help="Standard deviations that make an anomaly.")] = None,
    lookback_days: Annotated[int | None, typer.Option(help="How far back a run counts.")] = None,
    minimum_executions: Annotated[int | None, typer.Option(help="With fewer runs there is no verdict.")] = None,
    holidays: Annotated[
        list[str] | None, typer.Option("--holiday", help="A date, or a country such as DE or DE-BY; several times.")
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=365, help="Of how many days to tell.")] = 90,
    url: Url = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Say what a rule would have flagged in the past; without options, the one that `suggest` proposes.

    At most one alarm a month: watcher rules try 12 total_rows --method seasonal --alarms-per-month 1
    """
    given = {
        "method": method,
        "seasonality": seasonality,
        "direction": direction,
        "alarms_per_month": alarms_per_month,
        "z_threshold": z_threshold,
        "lookback_days": lookback_days,
        "minimum_executions": minimum_executions,
        "holidays": holidays or None,
    }
    fields: Mapping[str, Any] = {name: value for name, value in given.items() if value is not None}
    if not fields:
        found = _suggest(pipeline_id, metric, url, token)
        fields = found["rule"]
        if not as_json:
            say(found["why"])
    body = {**fields, "pipeline_id": pipeline_id, "metric_field": metric, "days": days, "executions": 0}
    answer = call("POST", "/anomaly_detection_rule/preview", url, token, json=body)
    if answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY:
        wrong = answer.json()["detail"][0]
        raise CommandError(f"{wrong['loc'][-1]}: {wrong['msg']}.")
    preview = json_of(answer, "methods")
    if as_json:
        sys.stdout.write(json.dumps(preview, indent=2) + "\n")
        return
    say(preview["sentence"])
    console().print(_table(preview["methods"]))


def _suggest(pipeline_id: int, metric: str, url: str | None, token: str | None) -> dict[str, Any]:
    answer = call("GET", f"/pipeline/{pipeline_id}/suggested_rule", url, token, params={"metric": metric})
    found: dict[str, Any] = json_of(answer, "why")
    return found


def _table(methods: list[dict[str, Any]]) -> Table:
    table = plain_table("Method", "Alerts", "Flagged", "Judged", "Beyond")
    for column in table.columns[1:]:
        column.justify = "right"
    for method in methods:
        name = f"{method['method']}{' (chosen)' if method['chosen'] else ''}"
        numbers = (f"{method[key]:,}" for key in ("alerts", "flagged", "judged"))
        table.add_row(name, *numbers, f"±{method['threshold']:.1f}")
    return table
