"""The options of ``watcher rules``; what the commands do is imported when they run."""

from typing import Annotated, Literal

import typer

rules_app = typer.Typer(help="Try an anomaly rule on a pipeline's past before it is made.", no_args_is_help=True)

# As anomalies.rules has them; importing that would slow down every `watcher --help`.
Metric = Literal["duration_seconds", "inserts", "updates", "soft_deletes", "total_rows", "throughput"]
Method = Literal["zscore", "mad", "seasonal"]
Seasonality = Literal["hour", "none", "weekday", "hour_of_week"]
Direction = Literal["both", "high", "low"]

PipelineId = Annotated[int, typer.Argument(metavar="PIPELINE", help="The id of the pipeline.")]
MetricName = Annotated[Metric, typer.Argument(help="The number to judge.")]
Url = Annotated[
    str | None, typer.Option(envvar="WATCHER_URL", help="The Watcher to ask; without it the one on this machine.")
]
Token = Annotated[str | None, typer.Option(envvar="WATCHER_TOKEN", help="A token, where Watcher asks for one.")]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON, as the API answers it.")]


@rules_app.command("suggest")
def suggest(
    pipeline_id: PipelineId, metric: MetricName, *, url: Url = None, token: Token = None, as_json: AsJson = False
) -> None:
    """Say which rule suits a metric, and why: by how often the pipeline runs, and what its past shows.

    For the rows of the pipeline with the id 12: watcher rules suggest 12 total_rows
    """
    from watcher_server.cli.rules import show_suggestion

    show_suggestion(pipeline_id, metric, url, token, as_json=as_json)


@rules_app.command("try")
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
    from watcher_server.cli.rules import show_preview

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
    fields = {name: value for name, value in given.items() if value is not None}
    show_preview(pipeline_id, metric, fields, days, url=url, token=token, as_json=as_json)
